/** How an outbox is emptied, a meter's and a gateway's alike: the oldest first, and what is refused blocks nothing else. */
import type { Outbox } from '../things/stores.js';
import { uploadItems, type PreparedUpload } from '../things/upload.js';
import { PeerRefusal } from './bindings/peer-refusal.js';

/** What the other side does not believe may be right once it knows a newer list. */
const triesOfUnbelieved = 3;
/** How many items in a row are passed over in search of one that is taken; twice as many the next time. */
const fewSuspects = 8;
const mostSuspects = 512;

/**
 * The other side has looked at it and does not want it; who is not let in, or too fast, may come again, and so may who
 * brings what needs a list that is on its way.
 */
export const isRefusal = (error: unknown): error is PeerRefusal =>
  error instanceof PeerRefusal && [400, 403, 409, 413].includes(error.status) && error.code !== 'membership-unknown';

/** Tells what is refused for good from what may come too early, and from a sender that is refused whatever it sends. */
export class Judgement {
  readonly #onSetAside: (what: string, code: string) => void;
  readonly #refusals = new Map<string, number>();
  /** Whether anything was taken since something was last set aside: else it may be this sender that is refused. */
  #takes = false;

  constructor(onSetAside: (what: string, code: string) => void) {
    this.#onSetAside = onSetAside;
  }

  taken(): void {
    this.#takes = true;
  }

  isForGood(what: string, { status }: PeerRefusal): boolean {
    if (status !== 403) return true;
    const refusals = (this.#refusals.get(what) ?? 0) + 1;
    this.#refusals.set(what, refusals);
    return refusals >= triesOfUnbelieved && this.#takes;
  }

  setAside(what: string, { code }: PeerRefusal): void {
    this.#refusals.delete(what);
    this.#takes = false;
    this.#onSetAside(what, code);
  }
}

interface UploaderParts {
  readonly next: (maxItems: number, afterPosition: number) => Promise<PreparedUpload | undefined>;
  readonly outbox: Pick<Outbox, 'setAside'>;
  readonly judgement: Judgement;
  /** @returns the receipt. @throws PeerRefusal, UnavailableError */
  readonly send: (upload: Uint8Array) => Promise<Uint8Array>;
  /** Verifies the receipt and forgets what it is for. */
  readonly acknowledge: (upload: PreparedUpload, receipt: Uint8Array) => Promise<void>;
}

export class Uploader {
  readonly #parts: UploaderParts;
  #maxItems = uploadItems;
  /** Single items that were not believed, by position: passed over until one behind them is taken, or none is left. */
  #suspects = new Map<number, PeerRefusal>();
  #suspectsAllowed = fewSuspects;

  constructor(parts: UploaderParts) {
    this.#parts = parts;
  }

  /**
   * One upload; one that is refused is halved until the item is found that spoils it.
   * @returns whether there was something to upload. @throws PeerRefusal when there is nothing but what is refused
   */
  async once(): Promise<boolean> {
    const { next, send, acknowledge, judgement } = this.#parts;
    const upload = await next(this.#maxItems, Math.max(0, ...this.#suspects.keys()));
    if (!upload) {
      await this.#judgeSuspects();
      return false;
    }
    let receipt: Uint8Array;
    try {
      receipt = await send(upload.message);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      await this.#refused(upload, error);
      return true;
    }
    await acknowledge(upload, receipt);
    judgement.taken();
    this.#suspectsAllowed = fewSuspects;
    this.#maxItems = Math.min(uploadItems, 2 * this.#maxItems);
    return true;
  }

  async #refused({ positions }: PreparedUpload, refusal: PeerRefusal): Promise<void> {
    const [position] = positions;
    if (position === undefined || positions.length > 1) {
      this.#maxItems = Math.ceil(positions.length / 2);
      return;
    }
    if (refusal.status !== 403) {
      await this.#setAside(position, refusal);
      return;
    }
    this.#suspects.set(position, refusal);
    if (this.#suspects.size < this.#suspectsAllowed) return;
    this.#suspectsAllowed = Math.min(mostSuspects, 2 * this.#suspectsAllowed);
    await this.#judgeSuspects();
  }

  /** @throws PeerRefusal of the first that is to be tried again */
  async #judgeSuspects(): Promise<void> {
    const suspects = [...this.#suspects].map(([position, refusal]) => {
      return { position, refusal, isForGood: this.#parts.judgement.isForGood(nameOf(position), refusal) };
    });
    this.#suspects = new Map();
    for (const { position, refusal, isForGood } of suspects) if (isForGood) await this.#setAside(position, refusal);
    const left = suspects.find(({ isForGood }) => !isForGood);
    if (left) throw left.refusal;
  }

  async #setAside(position: number, refusal: PeerRefusal): Promise<void> {
    await this.#parts.outbox.setAside(position, refusal.code);
    this.#parts.judgement.setAside(nameOf(position), refusal);
  }
}

const nameOf = (position: number): string => `item ${position}`;
