/** Entries of the audit log as rows of either database. */
import { followAudit, type AuditEntry, type AuditFacts, type AuditPlace } from '../../crypto/audit/entry.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import type { AuditFilter } from '../../things/stores.js';

export type AuditRow = Omit<AuditEntry, 'details'> & { readonly details: string };

/** Every suite has the same hash. */
export const entryAfter = (log: Uint8Array, head: AuditPlace, facts: AuditFacts): AuditEntry =>
  followAudit(suiteX25519, log, head, facts);

export const entryOf = (row: AuditRow): AuditEntry => ({
  ...row,
  details: JSON.parse(row.details) as AuditEntry['details'],
});

export const auditColumns = ['sequence', 'time_s', 'actor', 'action', 'subject', 'outcome', 'request_id', 'details', 'previous_hash', 'hash'].join(', '); // prettier-ignore

/** In the order of `auditColumns`. */
export const auditValues = (entry: AuditEntry): AuditValues => [
  entry.sequence,
  entry.timeS,
  entry.actor,
  entry.action,
  entry.subject,
  entry.outcome,
  entry.requestId,
  JSON.stringify(entry.details),
  entry.previousHash,
  entry.hash,
];

export type AuditValues = [
  sequence: number,
  timeS: number,
  actor: string,
  action: string,
  subject: string,
  outcome: string,
  requestId: string | null,
  details: string,
  previousHash: Uint8Array,
  hash: Uint8Array,
];

/** Null where it lets everything pass; in the order in which the queries name them. */
export const filterValues = ({ actor, action, subject, outcome, sinceS, untilS }: AuditFilter): FilterValues => [
  actor ?? null,
  action ?? null,
  subject ?? null,
  outcome ?? null,
  sinceS ?? null,
  untilS ?? null,
];

export type FilterValues = [
  actor: string | null,
  action: string | null,
  subject: string | null,
  outcome: string | null,
  sinceS: number | null,
  untilS: number | null,
];
