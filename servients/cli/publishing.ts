/** Lists that are signed here and published to the backend of the caller's key file, and the key that follows from them. */
import { toHex } from '../../crypto/bytes.js';
import { SetupError, UnavailableError } from '../../crypto/errors.js';
import { compareLists, findEntry, type AuthorityList, type ListRole } from '../../crypto/membership.js';
import { PeerRefusal } from '../bindings/peer-refusal.js';
import { backendOf, type Asking } from '../chain-client.js';
import type { EpochLog, ListedEpoch } from '../epoch-log.js';
import type { NameOf } from '../membership/changes.js';
import { certHashBy } from '../membership/edits.js';
import { openList, type OpenList } from '../membership/list-file.js';
import { sleep, systemNowS } from '../runtime.js';
import { callerKeys, type CallerOptions } from './caller.js';
import type { Draft, Names } from './membership-drafts.js';
import { openFile, sign, type SignOptions } from './membership-sign.js';

export type PublishingOptions = CallerOptions & Omit<SignOptions, 'url'>;

/**
 * `sign`, and the list goes to the caller's backend.
 * @throws SetupError `membership-rollback` where the backend has a newer list than the file: nothing is signed then
 */
export async function signAndPublish(
  options: PublishingOptions,
  edit: (current: OpenList, names: Names) => Draft,
): Promise<OpenList | undefined> {
  if (options.dryRun || options.export !== undefined) return sign(options, edit);
  const keys = callerKeys(options);
  await assertNewest(options, keys);
  return sign({ ...options, url: keys.backend.url }, edit);
}

async function assertNewest(options: PublishingOptions, keys: Asking): Promise<void> {
  const { list } = openFile(options).membership;
  let bundle: Uint8Array | undefined;
  try {
    bundle = await backendOf(keys, systemNowS).membership(list.gid);
  } catch (error) {
    if (error instanceof PeerRefusal && error.code === 'group-unknown') return;
    throw error;
  }
  const theirs = bundle && openList(bundle, options.root, systemNowS()).membership.list;
  if (!theirs || compareLists(theirs, list) <= 0) return;
  const { url } = keys.backend;
  const audience = 'audience' in keys.backend ? keys.backend.audience : 'AUDIENCE';
  throw new SetupError(
    'membership-rollback',
    `the backend has list ${theirs.version}.${theirs.revision}, which is newer than that of ${options.file}: ` +
      `take it over first, "gridring membership fetch --url ${url} --audience ${audience}"`,
  );
}

/** Whom a person means, if the list names it in the role. @throws SetupError `entry-unknown`, `entry-ambiguous` */
export function listedAs(list: AuthorityList, asked: string, role: ListRole, urnOf: NameOf): Uint8Array {
  const certHash = certHashBy(list, asked, urnOf);
  if (findEntry(list, certHash, role)) return certHash;
  throw new SetupError('entry-unknown', `${asked} is no ${role} of the group; "gridring membership show" lists all`);
}

/** Members by their names, separated by commas; null: all. @throws SetupError `entry-unknown`, `entry-ambiguous` */
export const metersNamed = (list: AuthorityList, meters: string, names: Names): readonly Uint8Array[] | null =>
  meters === 'all' ? null : meters.split(',').map((id) => listedAs(list, id.trim(), 'member', names.urn));

const pollMs = 1_000;

/**
 * Waits for something to be recorded.
 * @throws UnavailableError `not-yet` when it takes longer
 */
export async function waitFor<T>(
  what: string,
  waitS: number,
  look: () => Promise<T | undefined>,
  everyMs = pollMs,
): Promise<T> {
  for (const endMs = Date.now() + waitS * 1_000; ;) {
    const found = await look();
    if (found !== undefined) return found;
    if (Date.now() >= endMs) {
      throw new UnavailableError('not-yet', `${what} is not there after ${waitS} s; "gridring group status" says why`);
    }
    await sleep(everyMs, AbortSignal.timeout(everyMs + 1_000));
  }
}

/** The first epoch under a list or a newer one. @throws UnavailableError `not-yet` */
export async function firstEpochUnder(log: EpochLog, { list }: OpenList, waitS: number): Promise<ListedEpoch> {
  const gid = toHex(list.gid);
  return waitFor(`a new key of group ${gid}`, waitS, async () =>
    (await log.epochs(gid)).findLast(({ listVersion }) => listVersion >= list.version),
  );
}
