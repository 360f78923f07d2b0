/** Can this meter read that epoch? Answered from signed records; and if not, since when and by which list. */
import { toHex } from '../crypto/bytes.js';
import { NotFoundError, VerificationError } from '../crypto/errors.js';
import { compareLists, roleBit, type Membership } from '../crypto/membership.js';
import type { KeyHolder, VerifiedProof } from '../crypto/ring/proof.js';
import type { EpochLog, ListedEpoch, ListedList, ProvenEpoch } from './epoch-log.js';

/** The list that named a meter no longer, and what came of it; times are the backend's. */
interface Removal {
  readonly list: ListedList;
  /** The first epoch under that list or a newer one, if there is any yet. */
  readonly firstEpoch: ListedEpoch | undefined;
  /** From the list's publication to that epoch's record. */
  readonly tookS: number | undefined;
}

export interface Readability {
  readonly proof: ProvenEpoch;
  /** The meter and its signed confirmation, where it holds the key. */
  readonly holder: KeyHolder | undefined;
  /** Whether the list of the epoch names the meter. */
  readonly listed: boolean;
  readonly removal: Removal | undefined;
}

/** `meter` is an id, its URN, or a certHash in hex. */
export const holderNamed = ({ holders }: VerifiedProof, meter: string): KeyHolder | undefined =>
  holders.find(({ certificate }) => isNamed(meter, certificate.certHash, certificate.id));

const isNamed = (meter: string, certHash: Uint8Array, id: string | undefined): boolean =>
  meter === toHex(certHash) || meter.replace(/^urn:gridring:meter:/, '') === id;

const names = ({ list, certificates }: Membership, meter: string): boolean =>
  list.entries.some(
    ({ certHash, roles }, i) => (roles & roleBit.member) !== 0 && isNamed(meter, certHash, certificates[i]?.id),
  );

/**
 * Verifies the epoch's proof, and where the meter is not in it, a proof under each list that was in use, to find the one
 * that removed it.
 * @throws NotFoundError `epoch-unknown`, and `meter-unknown` where no list ever named it; VerificationError as `verifyProof`
 */
export async function readabilityOf(
  log: EpochLog,
  gid: string,
  meter: string,
  epochName: string | undefined,
): Promise<Readability> {
  const proof = await log.proof(await log.find(gid, epochName));
  const holder = holderNamed(proof, meter);
  const listed = names(proof.membership, meter);
  const epochs = await log.epochs(gid);
  const known = await knownMemberships(log, gid, epochs);
  if (!holder && !known.some((membership) => names(membership, meter))) {
    throw new NotFoundError('meter-unknown', `no list of the group has ever named ${JSON.stringify(meter)}`);
  }
  return { proof, holder, listed, removal: removalOf(known, await log.lists(gid), epochs, meter) };
}

/** The lists that recorded epochs rest on, and the newest, in their order. */
async function knownMemberships(
  log: EpochLog,
  gid: string,
  epochs: readonly ListedEpoch[],
): Promise<readonly Membership[]> {
  const byHash = new Map<string, Membership>();
  for (const epoch of epochs) {
    if (!byHash.has(epoch.listHash)) byHash.set(epoch.listHash, (await log.proof(epoch)).membership);
  }
  const newest = await newestIfValid(log, gid);
  if (newest) byHash.set(toHex(newest.listHash), newest);
  return [...byHash.values()].sort((a, b) => compareLists(a.list, b.list));
}

/** A list that has run out is no reason to answer nothing about the past. */
async function newestIfValid(log: EpochLog, gid: string): Promise<Membership | undefined> {
  try {
    return await log.newestMembership(gid);
  } catch (error) {
    if (error instanceof VerificationError) return undefined;
    throw error;
  }
}

function removalOf(
  known: readonly Membership[],
  lists: readonly ListedList[],
  epochs: readonly ListedEpoch[],
  meter: string,
): Removal | undefined {
  const lastNaming = known.findLastIndex((membership) => names(membership, meter));
  const removing = known[lastNaming + 1];
  const list =
    lastNaming < 0 || !removing ? undefined : lists.find(({ listHash }) => listHash === toHex(removing.listHash));
  if (!list) return undefined;
  const firstEpoch = epochs.findLast((epoch) => compareLists(orderOf(epoch), orderOf(list)) >= 0);
  return {
    list,
    firstEpoch,
    tookS: firstEpoch && (Date.parse(firstEpoch.recordedAt) - Date.parse(list.publishedAt)) / 1000,
  };
}

const orderOf = ({ listVersion, listRevision }: ListedList | ListedEpoch) => ({
  version: listVersion,
  revision: listRevision,
});
