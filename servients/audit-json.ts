/** Entries of an audit log as JSON: over HTTP, and as the lines of an export. */
import { parseAuditFacts, type AuditEntry, type AuditFacts } from '../crypto/audit/entry.js';
import { fromHex, toHex } from '../crypto/bytes.js';
import { MalformedError } from '../crypto/errors.js';

export interface AuditEntryJson extends Omit<AuditFacts, 'timeS'> {
  readonly sequence: number;
  readonly time: string;
  readonly previousHash: string;
  readonly hash: string;
}

export const auditEntryJson = (entry: AuditEntry): AuditEntryJson => ({
  sequence: entry.sequence,
  time: new Date(entry.timeS * 1000).toISOString(),
  actor: entry.actor,
  action: entry.action,
  subject: entry.subject,
  outcome: entry.outcome,
  requestId: entry.requestId,
  details: entry.details,
  previousHash: toHex(entry.previousHash),
  hash: toHex(entry.hash),
});

/** Of untrusted JSON, in exactly the form that `auditEntryJson` gives it. @throws MalformedError `audit-malformed` */
export function parseAuditEntryJson(value: unknown): AuditEntry {
  if (typeof value !== 'object' || value === null) throw malformed();
  const { sequence, time, previousHash, hash, ...facts } = value as Readonly<Record<string, unknown>>;
  if (!(typeof sequence === 'number' && Number.isSafeInteger(sequence) && sequence > 0)) throw malformed();
  const timeS = typeof time === 'string' ? Date.parse(time) / 1000 : Number.NaN;
  const entry = {
    sequence,
    previousHash: hashOf(previousHash),
    ...parseAuditFacts({ ...facts, timeS }),
    hash: hashOf(hash),
  };
  if (JSON.stringify(auditEntryJson(entry)) !== JSON.stringify(value)) throw malformed();
  return entry;
}

function hashOf(value: unknown): Uint8Array {
  if (typeof value !== 'string' || !/^[0-9a-f]{64}$/.test(value)) throw malformed();
  return fromHex(value);
}

const malformed = (): MalformedError => new MalformedError('audit-malformed', 'this is no entry of an audit log');
