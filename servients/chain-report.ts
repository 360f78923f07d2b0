/** Audits of the chains that a backend shows: of all that is there, of some days, or against a checkpoint that was kept. */
import { isDeepStrictEqual } from 'node:util';
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
  /** Whether the entry of the checkpoint's sequence is the checkpoint; given up where the backend says that it had one. */
  readonly checkpoint: 'same' | 'other' | 'given-up';
}

/** The chain that the backend shows, up to a checkpoint that somebody has kept. @throws as `auditDays` */
export async function auditAgainst(
  client: ChainClient,
  kept: Checkpoint,
  meter: string,
): Promise<CheckpointComparison> {
  const { sequence } = kept;
  const hashes: Uint8Array[] = [];
  const findings = await audit(client, meter, chainStart, sequence, (other, hash) => {
    if (other === sequence) hashes.push(hash);
  });
  const isSame = hashes.some((hash) => equalBytes(hash, kept.hash));
  const isGivenUp = findings.givenUp.some(({ first, last }) => first <= sequence && sequence <= last);
  return { findings, checkpoint: isSame ? 'same' : isGivenUp ? 'given-up' : 'other' };
}

async function audit(
  client: ChainClient,
  meter: string,
  start: AuditStart,
  last = Infinity,
  onEntry?: (sequence: number, hash: Uint8Array) => void,
): Promise<ChainFindings> {
  const chain = new ChainAudit(start);
  const givenUp = await client.givenUp(meter);
  let given = start.sequence;
  const giveUpTo = (sequence: number): void => {
    for (const stretch of givenUp.filter(({ first }) => first > given && first <= sequence)) {
      chain.giveUp(stretch);
      onEntry?.(stretch.last, stretch.hash);
      given = stretch.last;
    }
  };
  for await (const { entry } of client.entries(meter, start.sequence)) {
    if (entry.sequence > last) break;
    giveUpTo(entry.sequence);
    chain.add(entry);
    onEntry?.(entry.sequence, entry.hash);
  }
  giveUpTo(last);
  if (last !== Infinity) chain.end(last);
  const { findings } = chain;
  // What is missing may have been given up since it was asked for.
  const isCurrent = findings.missing.length === 0 || isDeepStrictEqual(await client.givenUp(meter), givenUp);
  return isCurrent ? findings : audit(client, meter, start, last, onEntry);
}
