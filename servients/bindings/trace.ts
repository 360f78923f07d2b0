/**
 * W3C Trace Context (version 00): the trace that work belongs to, taken from whoever asked for it and passed on with what is
 * asked of others, so that the logs of all name it. Not here: `tracestate`, and spans of our own.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { randomBytes } from 'node:crypto';

export interface Trace {
  /** 32 hex digits. */
  readonly traceId: string;
  /** Whether whoever began it keeps it. */
  readonly sampled: boolean;
}

const form = /^00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})$/;

/** Of a `traceparent` (§3.2); undefined where there is none, or one that is not of its form. */
export function parseTraceparent(value: unknown): Trace | undefined {
  const [, traceId, flags = '00'] = form.exec(typeof value === 'string' ? value : '') ?? [];
  return traceId === undefined ? undefined : { traceId, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

const current = new AsyncLocalStorage<Trace>();

/** Does the work as part of a trace; without one, of a new one. */
export const inTrace = <T>(trace: Trace | undefined, work: () => T): T => current.run(trace ?? newTrace(), work);

const newTrace = (): Trace => ({ traceId: randomBytes(16).toString('hex'), sampled: false });

/** For a request that is about to be sent: of the work that it is a part of, and of this one request. */
export function makeTraceparent(): string {
  const { traceId, sampled } = current.getStore() ?? newTrace();
  return `00-${traceId}-${randomBytes(8).toString('hex')}-${sampled ? '01' : '00'}`;
}
