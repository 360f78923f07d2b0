/** `gridring proposal`: what operators ask of the authority under their own signature, and the list that does it. */
import { join } from 'node:path';
import type { Command } from 'commander';
import { fromBase64Url, fromHex, toHex } from '../../crypto/bytes.js';
import { MalformedError, SetupError } from '../../crypto/errors.js';
import { limits } from '../../crypto/limits.js';
import { findEntry, type AuthorityList, type Membership } from '../../crypto/membership.js';
import {
  makeProposal,
  parseProposal,
  verifyProposal,
  type Proposal,
  type ProposalKind,
} from '../../crypto/proposal.js';
import type { BackendClient } from '../backend-client.js';
import { backendOf } from '../chain-client.js';
import { EpochLog } from '../epoch-log.js';
import { isoTime } from '../membership/changes.js';
import { grantReading, removeEntry, withdrawReading, type Edit } from '../membership/edits.js';
import { readReaderFile, type ReaderKeys } from '../reader-file.js';
import { systemNowS } from '../runtime.js';
import { demoFolder, withSigning } from './authority-options.js';
import { callerKeys, withCaller, type CallerOptions } from './caller.js';
import { namesOf, type Names } from './membership-drafts.js';
import { baseUrl, durationOption, groupId } from './options.js';
import { printJson, printLine, table } from './output.js';
import { listedAs, metersNamed, signAndPublish, type PublishingOptions } from './publishing.js';

interface ProposeOptions {
  readonly operator: string;
  readonly backend?: string;
  readonly group?: string;
  readonly meters?: string;
  readonly expires: number;
  readonly json?: true;
}

interface LsOptions extends CallerOptions {
  readonly group?: string;
  readonly json?: true;
}

const weekS = 604_800;

export function addProposal(program: Command): void {
  const proposal = program
    .command('proposal')
    .description('what operators propose to the authority, signed with their own keys, and the list that does it');
  const propose = (name: string, description: string, kind: ProposalKind): Command =>
    proposal
      .command(name)
      .description(description)
      .option(
        '--operator <folder>',
        'folder with operator.json, the key file of the operator',
        join(demoFolder, 'operator'),
      )
      .option('--backend <url>', 'another backend than the one in the key file', baseUrl)
      .option('--group <gid>', 'the group, where the backend has several', groupId)
      .option('--expires <time>', 'for how long the authority may take it up', durationOption, weekS)
      .option('--json', 'print JSON')
      .action((who: string, options: ProposeOptions) => bring(kind, who, options));
  propose('revoke <meter>', 'that a member be taken out', 'revoke');
  propose('grant <reader>', 'that a reader read meters', 'grant').requiredOption('--meters <meters>', whichMeters);
  propose('withdraw <reader>', 'that a reader read them no longer', 'withdraw').requiredOption(
    '--meters <meters>',
    whichMeters,
  );
  withCaller(proposal.command('ls'))
    .description('list proposals, and what has become of them')
    .option('--group <gid>', 'of this group alone', groupId)
    .option('--json', 'print one JSON object a line')
    .action(list);
  withCaller(withSigning(proposal.command('accept [ids...]')))
    .description(
      'sign a list that does what these propose, or all that are open: each is verified by its signature first',
    )
    .action(accept);
}

const whichMeters = '"all", or meters separated by commas';

async function bring(kind: ProposalKind, who: string, options: ProposeOptions): Promise<void> {
  if (options.expires > limits.proposalS) {
    throw new SetupError('expiry-invalid', `a proposal may last ${limits.proposalS / 86_400} days at most`);
  }
  const keys = operatorKeys(options);
  const log = new EpochLog(keys, systemNowS);
  const gid = options.group ?? (await log.onlyGroup());
  const membership = await log.newestMembership(gid);
  const { list } = membership;
  const names = namesOf(membership.certificates.flatMap((certificate) => certificate ?? []));
  const { certHash, kid } = keys.certificate;
  if (!findEntry(list, certHash, 'operator')) {
    throw new SetupError('not-an-operator', 'the list of the group names no operator with this key');
  }
  const nowS = systemNowS();
  const message = makeProposal(
    keys.suite,
    { certHash, kid, signer: keys.signer },
    {
      ...{ gid: fromHex(gid), kind, madeS: nowS, expiresS: nowS + options.expires },
      subject: listedAs(list, who, kind === 'revoke' ? 'member' : 'reader', names.urn),
      meters: options.meters === undefined ? null : metersNamed(list, options.meters, names),
    },
  );
  await backendOf(keys, systemNowS).propose(fromHex(gid), message);
  const id = toHex(parseProposal(keys.suite, message).id);
  if (options.json) printJson({ event: 'proposed', id, kind, gid });
  else printLine(`proposed: ${id}; "gridring proposal accept" takes it up, with the key of the authority`);
}

function operatorKeys({ operator, backend: url }: ProposeOptions): ReaderKeys {
  const keys = readReaderFile(join(operator, 'operator.json'));
  return url === undefined ? keys : { ...keys, backend: { ...keys.backend, url } };
}

interface Shown {
  readonly id: string;
  readonly state: string;
  readonly message: string;
}

async function list(options: LsOptions): Promise<void> {
  const keys = callerKeys(options);
  const log = new EpochLog(keys, systemNowS);
  const rows: string[][] = [];
  for (const gid of options.group === undefined ? await log.groups() : [options.group]) {
    const membership = await log.newestMembership(gid);
    for (const shown of await proposalsOf(backendOf(keys, systemNowS), gid)) {
      const proposal = parseProposal(keys.suite, fromBase64Url(shown.message));
      if (options.json) printJson({ event: 'proposal', ...shown, what: wordsOf(proposal, membership) });
      const by = nameIn(membership, proposal.operator);
      rows.push([shown.id.slice(0, 16), shown.state, wordsOf(proposal, membership), by, isoTime(proposal.expiresS)]);
    }
  }
  if (options.json) return;
  printLine(rows.length === 0 ? 'nothing is proposed' : table([['ID', 'STATE', 'WHAT', 'BY', 'UNTIL'], ...rows]));
}

async function proposalsOf(backend: BackendClient, gid: string): Promise<readonly Shown[]> {
  const all: Shown[] = [];
  for (let after = ''; ;) {
    const from = after === '' ? '' : `&after=${after}`;
    const page = (await backend.get(`groups/${gid}/proposals?limit=100${from}`)) as {
      readonly proposals?: readonly Shown[];
      readonly next?: string;
    };
    if (!Array.isArray(page.proposals)) throw new MalformedError('message-malformed', 'the backend gave no proposals');
    all.push(...(page.proposals as readonly Shown[]));
    if (page.next === undefined || page.next <= after) return all;
    after = page.next;
  }
}

const nameIn = ({ certificates }: Membership, certHash: Uint8Array): string =>
  namesOf(certificates.flatMap((certificate) => certificate ?? [])).id(certHash);

function wordsOf({ kind, subject, meters }: Proposal, membership: Membership): string {
  const who = nameIn(membership, subject);
  if (kind === 'revoke') return `take ${who} out`;
  const which = meters ? meters.map((meter) => nameIn(membership, meter)).join(', ') : 'all meters';
  return kind === 'grant' ? `let ${who} read ${which}` : `let ${who} read ${which} no longer`;
}

/** What the backend shows is not believed: each proposal counts by its operator's signature and the list in the file. */
async function accept(ids: readonly string[], options: PublishingOptions): Promise<void> {
  const backend = backendOf(callerKeys(options), systemNowS);
  const shown = new Map<string, readonly Shown[]>();
  const { gids } = await groupsOf(backend);
  for (const gid of gids) shown.set(gid, await proposalsOf(backend, gid));
  await signAndPublish(options, ({ list: current, membership, suite }, names) => {
    const open = (shown.get(toHex(current.gid)) ?? []).filter(({ id, state }) =>
      ids.length > 0 ? ids.some((each) => id.startsWith(each)) : state === 'open',
    );
    const missing = ids.find((each) => !open.some(({ id }) => id.startsWith(each)));
    if (missing !== undefined)
      throw new SetupError('proposal-unknown', `no proposal ${missing} for the group of the list`);
    if (open.length === 0) throw new SetupError('nothing-changes', 'nothing is proposed that is not done');
    const check = { suite, membership, nowS: systemNowS() };
    const proposals = open.map(({ message }) => verifyProposal(check, fromBase64Url(message)));
    return proposals.reduce<Edit>(
      (before, proposal) => {
        const { list: next, warnings } = editBy(before.list, proposal, names);
        return { list: next, warnings: [...before.warnings, ...warnings] };
      },
      { list: current, warnings: [] },
    );
  });
}

async function groupsOf(backend: BackendClient): Promise<{ readonly gids: readonly string[] }> {
  const { groups } = (await backend.get('groups')) as { readonly groups: readonly { readonly gid: string }[] };
  return { gids: groups.map(({ gid }) => gid) };
}

function editBy(current: AuthorityList, { kind, subject, meters }: Proposal, names: Names): Edit {
  if (kind === 'revoke') return removeEntry(current, subject, names.id);
  return kind === 'grant' ? grantReading(current, subject, meters) : withdrawReading(current, subject, meters);
}
