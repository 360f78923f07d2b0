/** Removes from a backend's database what has outlived its time. All processes on it do: whichever comes first. */
import { setImmediate } from 'node:timers/promises';
import type { Log } from '../things/parts.js';
import type { Endpoints } from '../things/endpoints.js';
import type { Directory } from '../things/directory.js';
import type { AuditLog } from '../things/audit-log.js';
import type { IdempotencyStore } from '../things/idempotency-store.js';
import type { Enrolments } from '../things/enrolments.js';
import type { IssuerStore } from '../things/issuer-store.js';
import type { AccountsStore, BackendStore } from '../things/stores.js';
import { idempotencyS } from './rest/idempotency.js';

export interface HousekeepingParts {
  readonly directory: Directory;
  readonly endpoints: Endpoints;
  readonly store: BackendStore;
  readonly issuerStore: IssuerStore;
  readonly idempotency: IdempotencyStore;
  readonly enrolments: Enrolments;
  readonly accounts: AccountsStore;
  readonly nowS: () => number;
  readonly log: Log;
  /** Undefined: readings are kept. */
  readonly readingsDays: number | undefined;
  readonly audit: AuditLog;
  /** Undefined: entries of the audit log are kept. */
  readonly auditDays: number | undefined;
}

const intervalMs = 60_000;
const dayS = 86_400;

/** Begins at once, and does so again every minute. @returns what ends it, when what is under way has ended */
export function startHousekeeping(parts: HousekeepingParts): () => Promise<void> {
  const stopping = new AbortController();
  let running = round(parts, stopping.signal);
  const timer = setInterval(() => {
    running = running.then(() => round(parts, stopping.signal));
  }, intervalMs).unref();
  return async () => {
    clearInterval(timer);
    stopping.abort();
    await running;
  };
}

async function round(parts: HousekeepingParts, stopping: AbortSignal): Promise<void> {
  const { directory, issuerStore, idempotency, enrolments, accounts, nowS, log } = parts;
  try {
    const ids = await directory.purge();
    if (ids.length > 0) log.info({ ids }, 'Thing Descriptions have expired');
    const endpoints = await parts.endpoints.purge();
    if (endpoints.length > 0) log.info({ endpoints }, 'registrations of endpoints have expired');
    await issuerStore.purgeIssuer(nowS());
    await idempotency.purgeIdempotency(nowS() - idempotencyS);
    await enrolments.purge();
    await accounts.purgeAccess(nowS());
    const entries = await dropOldEntries(parts, stopping);
    if (entries > 0) log.info({ entries }, 'entries that are older than the retention policy says were given up');
    await parts.audit.checkpointIfDue();
    await dropOldAudit(parts);
  } catch (error) {
    log.warn({ err: error }, 'what has outlived its time could not be removed');
  }
}

/** That entries were given up is an entry itself. */
async function dropOldAudit({ audit, nowS, auditDays }: HousekeepingParts): Promise<void> {
  if (auditDays === undefined) return;
  const entries = await audit.store.dropOld(nowS() - auditDays * dayS);
  if (entries === 0) return;
  const details = { entries, auditDays };
  await audit.append({
    actor: 'backend',
    action: 'audit.drop',
    subject: '',
    outcome: 'done',
    requestId: null,
    details,
  });
}

/** @returns how many */
async function dropOldEntries(
  { store, nowS, readingsDays }: HousekeepingParts,
  stopping: AbortSignal,
): Promise<number> {
  if (readingsDays === undefined) return 0;
  let dropped = 0;
  while (!stopping.aborted) {
    const some = await store.dropOldEntries(nowS() - readingsDays * dayS);
    if (some === 0) break;
    dropped += some;
    // Requests come in between.
    await setImmediate();
  }
  return dropped;
}
