/** Audits of the chains that a backend shows: of all that is there, of some days, or against a checkpoint that was kept. */
import { equalBytes } from '../crypto/bytes.js';
import { ChainAudit, chainStart, type AuditStart, type ChainFindings } from '../crypto/envelope/audit.js';
import type { Checkpoint } from '../crypto/envelope/checkpoint.js';
import type { ChainClient } from './chain-client.js';

/** Days since 1970-01-01, UTC, both included; undefined: from the first, or to the newest entry. */
export interface DayRange {
  readonly from?: number | undefined;
  readonly to?: number | undefined;
}

/**
 * Days begin and end at checkpoints: whoever cannot open readings knows no other times.
 * @throws PeerRefusal, UnavailableError, NotFoundError `meter-unknown`, VerificationError when an entry does not verify
 */
export async function auditDays(client: ChainClient, meter: string, { from, to }: DayRange): Promise<ChainFindings> {
  const checkpoints = from === undefined && to === undefined ? [] : await allCheckpoints(client, meter);
  const start = from === undefined ? undefined : checkpoints.findLast(({ day }) => day < from);
  return audit(client, meter, start ?? chainStart, to === undefined ? undefined : lastOf(checkpoints, to));
}

/** The sequence at which the day ends; undefined where no checkpoint says so yet. */
function lastOf(checkpoints: readonly Checkpoint[], to: number): number | undefined {
  if (!checkpoints.some(({ day }) => day >= to)) return undefined;
  return checkpoints.findLast(({ day }) => day <= to)?.sequence ?? 0;
}

async function allCheckpoints(client: ChainClient, meter: string): Promise<readonly Checkpoint[]> {
  const found: Checkpoint[] = [];
  for await (const { entry } of client.entries(meter, 0, 'checkpoint')) {
    if (entry.kind === 'checkpoint') found.push(entry);
  }
  return found;
}

export interface CheckpointComparison {
  readonly findings: ChainFindings;
  /** Whether the entry of the checkpoint's sequence is the checkpoint. */
  readonly isSame: boolean;
}

/** The chain that the backend shows, up to a checkpoint that somebody has kept. @throws as `auditDays` */
export async function auditAgainst(
  client: ChainClient,
  kept: Checkpoint,
  meter: string,
): Promise<CheckpointComparison> {
  let isSame = false;
  const findings = await audit(client, meter, chainStart, kept.sequence, (sequence, hash) => {
    isSame ||= sequence === kept.sequence && equalBytes(hash, kept.hash);
  });
  return { findings, isSame };
}

async function audit(
  client: ChainClient,
  meter: string,
  start: AuditStart,
  last?: number,
  onEntry?: (sequence: number, hash: Uint8Array) => void,
): Promise<ChainFindings> {
  const chain = new ChainAudit(start);
  for await (const { entry } of client.entries(meter, start.sequence)) {
    if (last !== undefined && entry.sequence > last) break;
    chain.add(entry);
    onEntry?.(entry.sequence, entry.hash);
  }
  if (last !== undefined) chain.end(last);
  return chain.findings;
}
