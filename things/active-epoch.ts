/** The epoch whose key a group uses, as its coordinator knows it: from the agreement, or from the record after a restart. */
import { equalBytes } from '../crypto/bytes.js';
import { VerificationError } from '../crypto/errors.js';
import type { Membership } from '../crypto/membership.js';
import type { Certificate } from '../crypto/certificate.js';
import { endorsedAtS, recordHashOf, verifyEndorsement } from '../crypto/ring/endorsement.js';
import { parseRecord, verifyRecord } from '../crypto/ring/record.js';
import type { KeyName } from '../crypto/ring/schedule.js';
import type { Suite } from '../crypto/suite.js';
import type { AgreedEpoch } from './stores.js';

export interface ActiveEpoch {
  readonly name: KeyName;
  /** certHashes in ring order. */
  readonly roster: readonly Uint8Array[];
  /** What makes the key active at a member that missed it. */
  readonly confirmationsMessage: Uint8Array;
  readonly record: Uint8Array;
  readonly sinceS: number;
  /** The backend's endorsement bundle, once it is here. */
  readonly endorsement: Uint8Array | null;
  /** Whether the profile asks for an endorsement that is not here yet (protocol §5). */
  readonly provisional: boolean;
}

/** Whether members need the backend's word for an epoch of so many (protocol §5). */
export const needsEndorsement = ({ list }: Membership, members: number): boolean =>
  list.policy.profile === 'constrained' && members > 3;

/** @throws MalformedError, VerificationError, ConflictError as `verifyRecord` */
export function restoreEpoch(suite: Suite, membership: Membership, agreed: AgreedEpoch): ActiveEpoch {
  const { record, agreedS, endorsement } = agreed;
  const { name, roster } = verifyRecord(suite, membership, record, agreedS);
  return {
    name,
    roster,
    confirmationsMessage: parseRecord(record)[3],
    record,
    sinceS: agreedS,
    endorsement,
    provisional: endorsement === null && needsEndorsement(membership, roster.length),
  };
}

/** @throws MalformedError, VerificationError `endorsement-mismatch` when it is about another epoch or record */
export function assertEndorses(
  check: { readonly suite: Suite; readonly trustedRoots: readonly Certificate[]; readonly nowS: number },
  { gid, epoch, attempt, record, agreedS }: AgreedEpoch,
  bundle: Uint8Array,
): void {
  const endorsement = verifyEndorsement({ ...check, nowS: endorsedAtS(check, agreedS, bundle) }, bundle);
  const same =
    equalBytes(endorsement.gid, gid) &&
    endorsement.epoch === epoch &&
    endorsement.attempt === attempt &&
    equalBytes(endorsement.recordHash, recordHashOf(check.suite, record));
  if (!same) throw new VerificationError('endorsement-mismatch', 'the endorsement is of another record');
}
