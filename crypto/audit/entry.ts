/**
 * The audit log of a backend: who did what, or was refused it, as one hash chain. Every entry holds the hash of the one
 * before it, so that none can be altered, left out or moved without the ones after it.
 */
import { MalformedError } from '../errors.js';
import { hash } from '../hash.js';
import { limits } from '../limits.js';
import type { Suite } from '../suite.js';

export const auditOutcomes = ['done', 'refused', 'failed'] as const;
export type AuditOutcome = (typeof auditOutcomes)[number];

/** Numbers are whole. Nothing secret: `auditFacts` refuses names that secrets go by. */
export type AuditDetails = Readonly<Record<string, string | number | boolean>>;

/** What happened, before it has its place in the chain. */
export interface AuditFacts {
  /** Unix seconds, by the clock of the process that wrote it: those of several processes need not ascend. */
  readonly timeS: number;
  /** Who: the URN of a certificate, an account as `<issuer>#<subject>`, or what the process calls itself. */
  readonly actor: string;
  /** What, as `<thing>.<verb>`: `membership.publish`. */
  readonly action: string;
  /** On what; empty where the action says all. */
  readonly subject: string;
  readonly outcome: AuditOutcome;
  readonly requestId: string | null;
  readonly details: AuditDetails;
}

/** Where a chain has come to; the next entry follows it. */
export interface AuditPlace {
  /** From 1; 0 before the first. */
  readonly sequence: number;
  /** 32 bytes; zeros before the first. */
  readonly hash: Uint8Array;
}

export interface AuditEntry extends AuditFacts, AuditPlace {
  readonly previousHash: Uint8Array;
}

export const auditStart: AuditPlace = { sequence: 0, hash: new Uint8Array(32) };

/** H(audit, log, …), 32 bytes; `log` is the 16 bytes that tell this log from every other. */
export function auditHash(suite: Suite, log: Uint8Array, entry: Omit<AuditEntry, 'hash'>): Uint8Array {
  const { sequence, previousHash, timeS, actor, action, subject, outcome, requestId, details } = entry;
  const pairs = sortedPairs(details);
  return hash(suite, 'audit', log, sequence, previousHash, timeS, actor, action, subject, outcome, requestId, pairs);
}

/** The entry that follows a place. */
export function followAudit(suite: Suite, log: Uint8Array, place: AuditPlace, facts: AuditFacts): AuditEntry {
  const { timeS, actor, action, subject, outcome, requestId, details } = facts;
  const placed = { sequence: place.sequence + 1, previousHash: place.hash };
  const entry = { ...placed, timeS, actor, action, subject, outcome, requestId, details };
  return { ...entry, hash: auditHash(suite, log, entry) };
}

/** In the order in which they are hashed and written. */
const sortedPairs = (details: AuditDetails): readonly (readonly [string, string | number | boolean])[] =>
  Object.entries(details).sort(([a], [b]) => (a < b ? -1 : 1));

/** What an entry keeps of a text that a caller may have chosen: one line, no control characters, not too long. */
const auditText = (text: string, maxLength: number = limits.auditText): string =>
  // Lone surrogates have no UTF-8: two different ones would have one hash.
  text
    .replace(unprintable, '\ufffd')
    .slice(0, maxLength)
    .replace(/[\ud800-\udbff]$/, '');

const unprintable =
  /[\u0000-\u001f\u007f-\u009f\u2028\u2029\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

const secretName = /secret|password|passphrase|authorization|cookie|assertion|private|^token$|[a-z]token$|[a-z]code$/i;
const detailName = /^[a-z][A-Za-z0-9]{0,31}$/;
const actionName = /^[a-z]+(?:-[a-z]+)*\.[a-z]+(?:-[a-z]+)*$/;

/**
 * Facts as an entry can hold them: texts cut and cleaned, details in order.
 * @throws TypeError for an action or detail that nobody may log, or of another form (a bug of ours, not of a caller)
 */
export function auditFacts(facts: AuditFacts): AuditFacts {
  const { timeS, actor, action, subject, outcome, requestId, details } = facts;
  if (!actionName.test(action)) throw new TypeError(`not an action: ${action}`);
  const pairs = sortedPairs(details);
  if (pairs.length > limits.auditDetails) throw new TypeError('too many details');
  for (const [name, value] of pairs) {
    if (!detailName.test(name) || secretName.test(name)) throw new TypeError(`no detail of an entry: ${name}`);
    if (typeof value === 'number' && !Number.isSafeInteger(value)) throw new TypeError(`${name} is no whole number`);
  }
  return {
    timeS,
    actor: auditText(actor),
    action,
    subject: auditText(subject),
    outcome,
    requestId: requestId === null ? null : auditText(requestId),
    details: Object.fromEntries(
      pairs.map(([name, value]) => [name, typeof value === 'string' ? auditText(value) : value]),
    ),
  };
}

/** Facts that came from elsewhere. @throws MalformedError `audit-malformed` unless `auditFacts` has made them */
export function parseAuditFacts(value: unknown): AuditFacts {
  const given = value as Readonly<Record<keyof AuditFacts, unknown>>;
  const { timeS, actor, action, subject, outcome, requestId, details } = given;
  if (
    !(typeof timeS === 'number' && Number.isSafeInteger(timeS) && timeS >= 0) ||
    !(isAuditText(actor) && typeof action === 'string' && isAuditText(subject)) ||
    !(requestId === null || isAuditText(requestId)) ||
    !(typeof details === 'object' && details !== null && !Array.isArray(details))
  ) {
    throw malformed();
  }
  const known = auditOutcomes.find((each) => each === outcome);
  if (known === undefined) throw malformed();
  return checked({ timeS, actor, action, subject, outcome: known, requestId, details: details as AuditDetails });
}

const isAuditText = (value: unknown): value is string => typeof value === 'string' && auditText(value) === value;

function checked(facts: AuditFacts): AuditFacts {
  const values: readonly unknown[] = Object.values(facts.details);
  const fits = (value: unknown): boolean =>
    isAuditText(value) || typeof value === 'number' || typeof value === 'boolean';
  if (!values.every(fits)) throw malformed();
  try {
    return auditFacts(facts);
  } catch (cause) {
    throw malformed(cause);
  }
}

const malformed = (cause?: unknown): MalformedError =>
  new MalformedError('audit-malformed', 'this is no entry of an audit log', cause);
