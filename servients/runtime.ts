/** What every process of ours has: a log, counters of refusals, time, and a way to say what happened. */
import { pino, type Logger } from 'pino';
import { GridringError, UnavailableError } from '../crypto/errors.js';
import type { CoapObserver } from './bindings/coap-gate.js';
import type { HttpObserver } from './bindings/http-app.js';
import { RateLimit } from './bindings/rate-limit.js';
import { logOptions } from './log-redaction.js';
import { PeerRefusal } from './bindings/peer-refusal.js';
import type { Metrics } from './operations/metrics.js';
import type { Operations } from './operations/operations.js';

/** Something an operator wants to know, as one JSON object; how it is printed is for the command line. */
export interface RuntimeEvent {
  readonly event: string;
  readonly [field: string]: unknown;
}

export interface Runtime {
  readonly log: Logger;
  readonly emit: (event: RuntimeEvent) => void;
  readonly version: string;
  /** Only where a port for it is configured. */
  readonly operations?: Operations;
}

/** Structured lines on standard error, without secrets, whoever hands them over. */
export const makeLog = (level: string): Logger => pino(logOptions(level), pino.destination({ dest: 2, sync: true }));

export const systemNowS = (): number => Math.floor(Date.now() / 1000);

/** Resolves after the time, or at once when the signal is aborted. */
export const sleep = (ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done);
  });

/**
 * How long to wait after so many failures in a row: at most half a second to half a minute, drawn from all of that, so that
 * many that wait do not come back at once. A peer that says when to come again is asked no sooner.
 */
export function backoffMs(failures: number, error?: unknown, longestMs = 30_000): number {
  const retryAfterS = error instanceof PeerRefusal || error instanceof UnavailableError ? (error.retryAfterS ?? 0) : 0;
  return retryAfterS * 1_000 + Math.random() * Math.min(longestMs, 500 * 2 ** failures);
}

export const codeOf = (error: unknown): string => (error instanceof GridringError ? error.code : 'internal');

const countsPeriodMs = 60_000;
/** Lines for each code; a flood is in the counts, and does not fill the disk. */
const logLines = { perSecond: 1, burst: 20, sources: 256 };

/**
 * Counts and logs refusals by their exact codes, which the peer never learns: a wrong key, a replay, a stale epoch and
 * a bad signature are four different things. Every one is counted, and the counts so far are logged every minute in which
 * they changed; a line of its own has each only while there are few.
 */
export class Refusals {
  readonly #log: Logger;
  readonly #metrics: Metrics | undefined;
  readonly #counts = new Map<string, number>();
  readonly #lines = new RateLimit(logLines);
  #changed = false;

  constructor(log: Logger, metrics?: Metrics) {
    this.#log = log;
    this.#metrics = metrics;
    setInterval(() => {
      if (this.#changed) this.#log.info({ refusals: Object.fromEntries(this.#counts) }, 'refused so far');
      this.#changed = false;
    }, countsPeriodMs).unref();
  }

  #count(code: string, binding: string): void {
    this.#metrics?.refused(code, binding);
    this.#counts.set(code, (this.#counts.get(code) ?? 0) + 1);
    this.#changed = true;
  }

  #refused(code: string, binding: string): void {
    this.#count(code, binding);
    if (this.#lines.take(code, Date.now())) this.#log.warn({ code, binding }, 'refused');
  }

  readonly coap: CoapObserver = {
    refused: (code) => {
      this.#refused(code, 'coap');
    },
    dropped: (reason) => {
      this.#count(`dropped-${reason}`, 'coap');
    },
    failed: (error) => {
      this.#count('failed', 'coap');
      if (this.#lines.take('failed', Date.now())) this.#log.error({ err: error }, 'a request failed');
    },
  };

  readonly http: HttpObserver = {
    request: (method, route, status, durationMs) => {
      this.#metrics?.request(method, route, status, durationMs);
      this.#log.debug({ method, route, status, durationMs }, 'request');
    },
    refused: (code) => {
      this.#refused(code, 'http');
    },
  };
}
