/**
 * When a group is rekeyed, and why (protocol §7), as pure policy: what was asked for and what has come of it go in, what
 * is due when comes out. All times are milliseconds of one steady clock.
 */
import type { Reason } from '../crypto/ring/messages.js';

/** What can ask for a new epoch; `retry` is a later attempt at what one of these asked for. */
export type Cause = Exclude<Reason, 'retry'>;

export interface RekeySchedule {
  /** What was asked for and has not begun, with the time at which it was. */
  readonly asked: ReadonlyMap<Cause, number>;
  /** Rekeys in a row that came to nothing. */
  readonly failures: number;
  /** Until then nothing is tried again. */
  readonly pausedUntilMs: number;
  /** When the present key came to be; undefined without one. */
  readonly keyedMs: number | undefined;
}

export interface RekeyPolicy {
  /** How long joins and leaves are gathered. */
  readonly windowMs: number;
  /** From one epoch to the next; 0: only for a cause. */
  readonly intervalMs: number;
  /** Whether everybody who may join is there: then nothing is gained by waiting for more. */
  readonly complete: boolean;
}

export const newSchedule: RekeySchedule = { asked: new Map(), failures: 0, pausedUntilMs: 0, keyedMs: undefined };

/** The first that was asked for names the rekey. */
const byUrgency: readonly Cause[] = ['revocation', 'founding', 'restart', 'leave', 'join', 'request', 'periodic'];

const firstPauseMs = 1_000;
const longestPauseMs = 60_000;

/** Asks for a rekey; asked again, the first time counts. What is new may help, so it ends a pause. */
export const ask = (schedule: RekeySchedule, cause: Cause, nowMs: number): RekeySchedule => ({
  ...schedule,
  asked: new Map([[cause, nowMs], ...schedule.asked]),
  pausedUntilMs: nowMs,
});

/** When the next rekey is due; undefined when nothing asks for one. */
export function dueMs({ asked, pausedUntilMs, keyedMs }: RekeySchedule, policy: RekeyPolicy): number | undefined {
  const dues = [...asked].map(([cause, sinceMs]) => sinceMs + gatheringMs(cause, asked, policy));
  if (keyedMs !== undefined && policy.intervalMs > 0) dues.push(keyedMs + policy.intervalMs);
  return dues.length === 0 ? undefined : Math.max(pausedUntilMs, Math.min(...dues));
}

/** A revocation waits for nobody, nor does who asked for an epoch; others may leave within the window of the first. */
function gatheringMs(cause: Cause, asked: RekeySchedule['asked'], { windowMs, complete }: RekeyPolicy): number {
  if (cause === 'revocation' || cause === 'request' || cause === 'periodic') return 0;
  return complete && !asked.has('leave') ? 0 : windowMs;
}

/** Takes everything that was asked for into one rekey. @returns its reason, and the schedule without what it covers */
export function begin(schedule: RekeySchedule): { readonly reason: Cause; readonly schedule: RekeySchedule } {
  const reason = byUrgency.find((cause) => schedule.asked.has(cause)) ?? 'periodic';
  return { reason, schedule: { ...schedule, asked: new Map() } };
}

/** There is a new epoch: what was asked for while it was agreed is either in it, or is to be asked for again. */
export const succeeded = (nowMs: number): RekeySchedule => ({ ...newSchedule, keyedMs: nowMs });

/**
 * What the rekey was for is asked for again, after a pause that doubles up to a minute; for ever, since the old key stays
 * in use.
 * @param jitter 0 to 1: gateways that fail together do not come back together
 */
export function failed(schedule: RekeySchedule, reason: Cause, nowMs: number, jitter: number): RekeySchedule {
  const failures = schedule.failures + 1;
  const pauseMs = Math.min(longestPauseMs, firstPauseMs * 2 ** failures) * (0.5 + jitter / 2);
  const asked = new Map(schedule.asked).set(reason, nowMs);
  // What was asked for meanwhile may help, so that it need not wait for the pause.
  return { ...schedule, asked, failures, pausedUntilMs: schedule.asked.size > 0 ? nowMs : nowMs + pauseMs };
}
