/** Says how an outbox and its disk stand: now and then while something waits, and at once when room becomes scarce. */
import { isNearlyFull } from '../things/disk-status.js';
import type { DiskStatus, Outbox } from '../things/stores.js';
import { codeOf, sleep, systemNowS, type Runtime } from './runtime.js';

const lookMs = 1_000;
const reportMs = 60_000;
/** An alarm is over only well below where it begins, or a database that is emptied and filled would raise it all the time. */
const overAt = 0.7;

interface WatchParts {
  readonly id: string;
  readonly outbox: Pick<Outbox, 'outboxStatus' | 'diskStatus'>;
  readonly runtime: Runtime;
  /** The alarm begins or ends. */
  readonly onAlarm: () => void;
}

export class OutboxWatch {
  readonly #parts: WatchParts;
  #alarm = false;
  #reportedMs = performance.now();

  constructor(parts: WatchParts) {
    this.#parts = parts;
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#look();
      } catch (error) {
        this.#parts.runtime.log.warn({ code: codeOf(error) }, 'the outbox cannot be looked at');
      }
      await sleep(lookMs, signal);
    }
  }

  async #look(): Promise<void> {
    const { id, outbox, runtime, onAlarm } = this.#parts;
    const disk = await outbox.diskStatus();
    if (this.#alarm ? isOver(disk) : isNearlyFull(disk)) {
      this.#alarm = !this.#alarm;
      const event = this.#alarm ? 'disk-nearly-full' : 'disk-has-room';
      runtime.emit({ event, id, ...disk });
      if (this.#alarm) runtime.log.error({ id, ...disk }, 'the disk is nearly full: soon nothing more is taken');
      else runtime.log.info({ id, ...disk }, 'the disk has room again');
      onAlarm();
    }
    if (performance.now() - this.#reportedMs < reportMs) return;
    this.#reportedMs = performance.now();
    const { depth, bytes, oldestS } = await outbox.outboxStatus();
    if (depth === 0) return;
    const oldestAgeS = Math.max(0, systemNowS() - (oldestS ?? 0));
    runtime.log.info({ id, depth, bytes, oldestAgeS, usedBytes: disk.usedBytes }, 'waiting in the outbox');
  }
}

const isOver = ({ usedBytes, budgetBytes }: DiskStatus): boolean =>
  budgetBytes === null || usedBytes < overAt * budgetBytes;
