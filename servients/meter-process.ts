/** One meter at work: it reads its source, is called or wakes up, and delivers. */
import { GridringError } from '../crypto/errors.js';
import type { KeyName } from '../crypto/ring/schedule.js';
import type { Meter } from '../things/meter.js';
import { nextLookS } from '../things/round-follower.js';
import type { MeterUplink } from './meter-uplink.js';
import type { RenewalLoop } from './renewal.js';
import type { OutboxWatch } from './outbox-watch.js';
import { backoffMs, codeOf, sleep, type Runtime } from './runtime.js';
import { SourceReader } from './source-reader.js';
import type { ReadingSource } from './sources/source.js';

export interface MeterSummary {
  readonly id: string;
  /** Of the last entry of its chain. */
  readonly lastSequence: number;
  /** How many readings there ever were. */
  readonly readings: number;
  /** Sealed readings that the gateway does not have yet. */
  readonly pendingReadings: number;
  readonly keyed: boolean;
  /** Of the key under which it reports; 0 without one. */
  readonly epoch: number;
}

export interface MeterProcessParts {
  readonly id: string;
  readonly meter: Meter;
  readonly uplink: MeterUplink;
  readonly watch: OutboxWatch;
  readonly renewal: RenewalLoop;
  readonly source: ReadingSource;
  readonly reportIntervalMs: number;
  /** Undefined for a meter that can be called at any time. */
  readonly wakeIntervalMs: number | undefined;
  readonly runtime: Runtime;
  readonly pendingReadings: () => Promise<number>;
  readonly release: () => Promise<void>;
}

const steadyNowS = (): number => performance.now() / 1_000;

export class MeterProcess {
  readonly #parts: MeterProcessParts;
  readonly #reading = new AbortController();
  readonly #running = new AbortController();
  #wakeUplink = new AbortController();
  /** By the steady clock: one that is set back must not have the meter wait until it is there again. */
  #lastLookS = -Infinity;
  readonly #loops: readonly Promise<void>[];

  constructor(parts: MeterProcessParts) {
    this.#parts = parts;
    const { wakeIntervalMs, watch, renewal } = parts;
    const uplink =
      wakeIntervalMs === undefined ? [this.#deliver(), this.#keepUp()] : [this.#sleepAndWake(wakeIntervalMs)];
    const own = [watch, renewal].map((loop) => loop.run(this.#running.signal));
    this.#loops = [this.#reader().run(this.#reading.signal), this.#tick(), ...own, ...uplink];
  }

  async close(drainMs: number): Promise<MeterSummary> {
    const { id, meter, pendingReadings, release } = this.#parts;
    this.#reading.abort();
    this.#wakeUplink.abort();
    await Promise.race([this.#drained(), sleep(drainMs, AbortSignal.timeout(drainMs))]);
    this.#running.abort();
    await Promise.race([Promise.allSettled(this.#loops), sleep(500, AbortSignal.timeout(500))]);
    const { lastSequence, readings, keyed, epoch } = meter;
    const summary = { id, lastSequence, readings, pendingReadings: await pendingReadings(), keyed, epoch };
    await release();
    return summary;
  }

  #reader(): SourceReader {
    const { meter, source } = this.#parts;
    return new SourceReader({
      ...{ meter, source },
      onKept: () => {
        this.#wakeUplink.abort();
      },
      warn: (error, message) => {
        this.#warn(error, message);
      },
    });
  }

  async #drained(): Promise<void> {
    while (!this.#running.signal.aborted && (await this.#parts.meter.nextUpload()) !== undefined) {
      await sleep(20, this.#running.signal);
    }
  }

  /** Enrols, then uploads whatever there is, for as long as the meter runs. */
  async #deliver(): Promise<void> {
    const { uplink } = this.#parts;
    const { signal } = this.#running;
    for (let failures = 0; !signal.aborted;) {
      try {
        await uplink.deliver(signal);
        // A gateway that was away may have begun something meanwhile.
        if (failures > 0) this.#lastLookS = -Infinity;
        failures = 0;
        await this.#waitForReadings();
      } catch (error) {
        this.#warn(error, 'the gateway cannot be served; trying again');
        await sleep(backoffMs(failures++, error), AbortSignal.any([signal, uplink.moved]));
      }
    }
  }

  async #waitForReadings(): Promise<void> {
    const either = AbortSignal.any([this.#wakeUplink.signal, this.#running.signal]);
    await sleep(60_000, either);
    this.#wakeUplink = new AbortController();
    if (!this.#reading.signal.aborted) await sleep(this.#parts.reportIntervalMs, this.#reading.signal);
  }

  /** A meter that can be called asks by itself only for what it seems to have missed. */
  async #keepUp(): Promise<void> {
    const { meter, uplink } = this.#parts;
    const { signal } = this.#running;
    let [waitingSince, noticedS, looks]: [number | undefined, number, number] = [undefined, 0, 0];
    this.#lastLookS = steadyNowS();
    while (!signal.aborted) {
      await sleep(1_000, signal);
      const current = meter.groups.waitingSinceS;
      if (current !== waitingSince) [waitingSince, noticedS, looks] = [current, steadyNowS(), 0];
      const waitingSinceS = current === undefined ? undefined : noticedS;
      if (!uplink.enrolled) this.#wakeUplink.abort();
      if (!uplink.enrolled || steadyNowS() < nextLookS(waitingSinceS, this.#lastLookS, looks)) continue;
      await this.#follow();
      this.#lastLookS = steadyNowS();
      looks += 1;
    }
  }

  async #follow(): Promise<void> {
    try {
      await this.#parts.uplink.follow();
    } catch (error) {
      this.#warn(error, 'the rounds of the gateway cannot be read');
    }
    if (!this.#parts.uplink.enrolled) this.#wakeUplink.abort();
  }

  /**
   * A meter that cannot be called: at each waking one step in every group, then its readings. What a round needs is kept
   * in memory from one waking to the next. When it is told to stop it delivers once more.
   */
  async #sleepAndWake(wakeIntervalMs: number): Promise<void> {
    const { uplink } = this.#parts;
    const [running, reading] = [this.#running.signal, this.#reading.signal];
    for (let failures = 0; !running.aborted;) {
      try {
        await uplink.deliver(running);
        if (!reading.aborted) await uplink.follow();
        failures = 0;
      } catch (error) {
        failures += 1;
        this.#warn(error, 'the gateway cannot be served; trying again at the next waking');
      }
      await sleep(reading.aborted ? backoffMs(failures) : wakeIntervalMs, reading.aborted ? running : reading);
    }
  }

  async #tick(): Promise<void> {
    const { signal } = this.#running;
    let shown: KeyName | undefined;
    while (!signal.aborted) {
      await sleep(1_000, signal);
      try {
        await this.#parts.meter.groups.tick();
      } catch (error) {
        if (!(error instanceof GridringError)) throw error;
        this.#warn(error, 'what has ended cannot be given up on disk yet; trying again');
      }
      shown = this.#showKey(shown);
    }
  }

  /** Says under which key the readings go, whenever that changes. */
  #showKey(shown: KeyName | undefined): KeyName | undefined {
    const { id, meter, runtime } = this.#parts;
    const key = meter.groups.reporting()?.active.name;
    if (key && key !== shown) runtime.emit({ event: 'keyed', id, epoch: key.epoch, attempt: key.attempt });
    return key;
  }

  #warn(error: unknown, message: string): void {
    const { id, runtime } = this.#parts;
    runtime.log.warn({ meter: id, code: codeOf(error), err: error }, message);
  }
}
