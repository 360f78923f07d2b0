/** `gridring gateway replace`: another gateway, with another certificate and address, in the place of one that is gone. */
import { readFileSync, writeFileSync } from 'node:fs';
import { toHex } from '../../crypto/bytes.js';
import { parseCertificate } from '../../crypto/certificate.js';
import { SetupError } from '../../crypto/errors.js';
import { compareLists, findEntry, type AuthorityList, type Membership } from '../../crypto/membership.js';
import { BackendClient } from '../backend-client.js';
import { readConfig, type GatewayConfig } from '../config.js';
import { readValue } from '../consume.js';
import { DirectoryClient } from '../directory-client.js';
import { readIdentity } from '../identity-files.js';
import type { NameOf } from '../membership/changes.js';
import { addEntry, certHashBy, changePolicy, removeEntry } from '../membership/edits.js';
import type { OpenList } from '../membership/list-file.js';
import { systemNowS } from '../runtime.js';
import { withWot } from '../with-wot.js';
import { namesOf, type Draft } from './membership-drafts.js';
import { authorityFetch, fetchList, openFile, sign } from './membership-sign.js';
import { printJson, printLine } from './output.js';

export interface ReplaceOptions {
  readonly config: string;
  readonly authority: string;
  readonly dryRun?: true;
  readonly json?: true;
}

/** A member that cannot be asked may have answered as many epochs more than anybody knows of. */
const unknownEpochs = 256;
/** No more than a member would follow (protocol §5): what a member says of itself is not signed. */
const believedAhead = 1_024;

/** @throws SetupError, PeerRefusal, UnavailableError; nothing is signed then */
export async function replaceGateway(who: string, options: ReplaceOptions): Promise<void> {
  const config = readConfig('gateway', options.config);
  for (const file of [config.membership].flat()) await replaceIn(file, who, config, options);
  if (options.dryRun) return;
  summonFrom(options.config);
  const next = `gridring gateway --config ${options.config}`;
  if (options.json) printJson({ event: 'gateway-replaced', config: options.config });
  else printLine(`start it with "${next}": it calls the members, and they send again what has not arrived`);
}

async function replaceIn(file: string, who: string, config: GatewayConfig, options: ReplaceOptions): Promise<void> {
  const { url, audience } = config.backend;
  const { root } = config;
  const { authority } = options;
  const newest = await fetchList({ file, root, url, audience, authority });
  if (compareLists(openFile({ file, root }).membership.list, newest.membership.list) < 0) {
    throw new SetupError(
      'membership-rollback',
      `${file} is older than the backend's list: "gridring membership fetch"`,
    );
  }
  const epochFloor = await highestEpoch(newest, { url, audience, authority });
  const { leaf, certificates } = readIdentity(newest.suite, config);
  const chain = certificates.map((der) => parseCertificate(newest.suite, der));
  await sign(
    { file, root, authority, url, ...(options.dryRun && { dryRun: true }), ...(options.json && { json: true }) },
    ({ list, membership, certificates: known }): Draft => {
      const names = namesOf([...known, ...chain]);
      const removed = removeEntry(list, coordinatorBy(list, membership, who, names.urn), names.id);
      const added = addEntry(removed.list, { certificate: leaf, hpkeKey: null, reads: undefined }, names.id);
      const floor = changePolicy(added.list, { epochFloor });
      return {
        list: floor.list,
        // Between the two edits there is no gateway.
        warnings: [...added.warnings, ...floor.warnings],
        certificates: chain,
      };
    },
  );
}

/** @throws SetupError `entry-unknown` */
function coordinatorBy(list: AuthorityList, { list: inForce }: Membership, who: string, urnOf: NameOf): Uint8Array {
  const certHash = certHashBy(list, who, urnOf);
  if (findEntry(inForce, certHash, 'coordinator')) return certHash;
  throw new SetupError('entry-unknown', `${who} coordinates nothing; "gridring membership show" says who does`);
}

interface Backend {
  readonly url: string;
  readonly audience: string;
  readonly authority: string;
}

/** That the backend has recorded, or a member has answered; the lost gateway may have agreed on some that nobody recorded. */
async function highestEpoch(list: OpenList, { url, audience, authority }: Backend): Promise<number> {
  const { suite, trustedRoots, membership } = list;
  const gid = toHex(membership.list.gid);
  const send = authorityFetch(list, authority, audience);
  const { epochs } = (await new BackendClient({ suite, trustedRoots, url, fetch: send }).get(
    `groups/${gid}/epochs?limit=1`,
  )) as { readonly epochs: readonly { readonly epoch: number }[] };
  const recorded = Math.max(membership.list.policy.epochFloor ?? 0, epochs[0]?.epoch ?? 0);
  const trust = { suite, trustedRoots, nowS: systemNowS };
  const marks = await memberMarks(list, new DirectoryClient({ url, fetch: send, trust }), gid);
  const answered = Math.max(recorded, ...marks.map((mark) => Math.min(mark ?? 0, recorded + believedAhead)));
  return marks.includes(undefined) ? answered + unknownEpochs : answered;
}

/** The epoch that each member shows; undefined where it cannot be asked. */
async function memberMarks(
  { membership: { list, certificates } }: OpenList,
  directory: DirectoryClient,
  gid: string,
): Promise<readonly (number | undefined)[]> {
  const ids = list.entries.flatMap(({ certHash }, i) =>
    findEntry(list, certHash, 'member') ? [certificates[i]?.id ?? ''] : [],
  );
  return withWot(3_000, (wot) => {
    const ask = async (id: string): Promise<number | undefined> => {
      try {
        const thing = await wot.consume(await directory.thing(`urn:gridring:meter:${id}`));
        return epochIn(await readValue(thing, 'keyStatus'), gid);
      } catch {
        return undefined;
      }
    };
    return Promise.all(ids.map(ask));
  });
}

function epochIn(keyStatus: unknown, gid: string): number | undefined {
  const { groups } = keyStatus as { readonly groups: readonly { readonly gid: string; readonly epoch: number }[] };
  return groups.find((group) => group.gid === gid)?.epoch;
}

/** Whoever starts it next need not know that it is a new one. */
function summonFrom(file: string): void {
  const config = JSON.parse(readFileSync(file, 'utf8')) as object;
  writeFileSync(file, `${JSON.stringify({ ...config, summons: true }, null, 2)}\n`);
}
