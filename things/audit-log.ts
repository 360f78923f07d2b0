/** What a backend writes into its audit log, and signs of it. */
import { parseAuditCheckpoint, signAuditCheckpoint } from '../crypto/audit/checkpoint.js';
import { auditFacts, type AuditFacts } from '../crypto/audit/entry.js';
import type { Parts } from './parts.js';
import { Serial } from './serial.js';
import type { AuditCheckpointRow, AuditStore } from './stores.js';

/** What happened: the log adds the time. */
export type AuditEvent = Omit<AuditFacts, 'timeS'>;

/** A checkpoint is due after so many entries, or so much time with one at least. */
const checkpointEntries = 1_000;
const checkpointIntervalS = 3_600;

export class AuditLog {
  readonly store: AuditStore;
  readonly #parts: Pick<Parts, 'suite' | 'identity' | 'nowS'>;
  readonly #signing = new Serial();

  constructor(store: AuditStore, parts: Pick<Parts, 'suite' | 'identity' | 'nowS'>) {
    this.store = store;
    this.#parts = parts;
  }

  /**
   * For a store's method that appends it together with the change that it tells of.
   * @throws TypeError as `auditFacts`
   */
  facts(event: AuditEvent): AuditFacts {
    return auditFacts({ ...event, timeS: this.#parts.nowS() });
  }

  /** On the disk when it has returned. @throws TypeError as `auditFacts`; UnavailableError */
  async append(event: AuditEvent): Promise<void> {
    await this.store.append(this.facts(event));
  }

  /** Signs how far the log has come, if it is time to: whichever process signed last, and however often this one began. */
  async checkpointIfDue(): Promise<void> {
    const { sequence, checkpoint } = await this.store.head();
    const entries = sequence - (checkpoint?.sequence ?? 0);
    if (entries === 0) return;
    const isLate = this.#parts.nowS() - (await this.#signedS(checkpoint?.number)) >= checkpointIntervalS;
    if (entries >= checkpointEntries || isLate) await this.checkpoint();
  }

  /**
   * Signs how far the log has come, unless that is signed already.
   * @returns the newest checkpoint; undefined while there is no entry
   */
  checkpoint(): Promise<AuditCheckpointRow | undefined> {
    return this.#signing.run(() => this.#sign());
  }

  async #sign(): Promise<AuditCheckpointRow | undefined> {
    const { suite, identity, nowS } = this.#parts;
    for (;;) {
      const { sequence, hash, checkpoint } = await this.store.head();
      if (sequence === (checkpoint?.sequence ?? 0)) return this.#newest(checkpoint?.number);
      const number = (checkpoint?.number ?? 0) + 1;
      const { log } = this.store;
      const message = signAuditCheckpoint(suite, identity, { number, log, sequence, hash, timeS: nowS() });
      // Where another process was first with this number, what it signed for may end before.
      if (await this.store.saveCheckpoint({ number, sequence, message })) return { number, sequence, message };
    }
  }

  /** When the newest checkpoint was signed; where there is none, when the log began. */
  async #signedS(number: number | undefined): Promise<number> {
    const newest = await this.#newest(number);
    if (newest) return parseAuditCheckpoint(newest.message).timeS;
    return (await this.store.entries(0, 1, {}))[0]?.timeS ?? this.#parts.nowS();
  }

  async #newest(number: number | undefined): Promise<AuditCheckpointRow | undefined> {
    return number === undefined ? undefined : (await this.store.checkpoints(number - 1, 1))[0];
  }
}
