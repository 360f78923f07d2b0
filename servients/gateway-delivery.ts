/** What a gateway brings to the backend: records of epochs first, then sealed readings, the oldest first. */
import { toHex } from '../crypto/bytes.js';
import { GridringError } from '../crypto/errors.js';
import type { Gateway } from '../things/gateway.js';
import type { AgreedEpoch, GatewayStore } from '../things/stores.js';
import type { PreparedUpload } from '../things/upload.js';
import type { BackendClient } from './backend-client.js';
import { PeerRefusal } from './bindings/peer-refusal.js';
import { backoffMs, codeOf, sleep, type Runtime } from './runtime.js';

interface DeliveryParts {
  readonly gateway: Gateway;
  readonly store: GatewayStore;
  readonly backend: Pick<
    BackendClient,
    'recordEpoch' | 'publishMembership' | 'uploadReadings' | 'certificate' | 'forgetCertificate'
  >;
  readonly runtime: Runtime;
}

/** What the backend does not believe may be right once it knows a newer list. */
const triesOfUnbelieved = 3;
const longestPauseMs = 5_000;
const mostItems = 256;

export class Delivery {
  readonly #parts: DeliveryParts;
  /** Refusals of what is tried again, by what it is. */
  readonly #refusals = new Map<string, number>();
  #maxItems = mostItems;
  /** Whether the backend has taken anything since it last refused for good: else it may be this gateway that it refuses. */
  #takes = false;

  constructor(parts: DeliveryParts) {
    this.#parts = parts;
  }

  /** A backend that is away is waited for, and nothing is dropped. */
  async run(signal: AbortSignal): Promise<void> {
    const { gateway, store, runtime } = this.#parts;
    let away = false;
    for (let failures = 0; !signal.aborted;) {
      try {
        await this.#reportRecords();
        const delivered = await this.#uploadOnce();
        if (away) runtime.emit({ event: 'backend-back' });
        away = false;
        failures = 0;
        if (!delivered) await sleep(100, signal);
      } catch (error) {
        const code = codeOf(error);
        gateway.deliveryFailed(code);
        if (!away) {
          const { depth } = await store.outboxStatus();
          runtime.emit({ event: 'backend-away', code, buffered: depth });
        }
        away = true;
        runtime.log.warn({ code, err: error }, 'the backend takes nothing now; it is kept here');
        await sleep(Math.min(backoffMs(failures++), longestPauseMs), signal);
      }
    }
  }

  /** A record that is refused keeps none of the others back, and none of the readings for long. */
  async #reportRecords(): Promise<void> {
    const { gateway, store } = this.#parts;
    let refusal: PeerRefusal | undefined;
    for (const agreed of await store.unreportedRecords()) {
      try {
        await gateway.recorded(agreed, await this.#record(agreed));
        this.#takes = true;
      } catch (error) {
        if (!isRefusal(error)) throw error;
        const { gid, epoch, attempt } = agreed;
        const what = `record ${epoch}.${attempt} of ${toHex(gid)}`;
        if (this.#isForGood(what, error)) {
          await store.setRecordAside(gid, epoch, attempt, error.code);
          this.#setAside(what, error);
        } else refusal = error;
      }
    }
    if (refusal) throw refusal;
  }

  /** A backend that lacks the list is given it, and those before it that epochs rest on. */
  async #record({ gid, record }: AgreedEpoch): Promise<Uint8Array> {
    const { store, backend } = this.#parts;
    try {
      return await backend.recordEpoch(record);
    } catch (error) {
      if (!(error instanceof GridringError && error.code === 'membership-unknown')) throw error;
    }
    for (const { bundle } of [...(await store.lists(gid))].reverse()) {
      try {
        await backend.publishMembership(bundle);
      } catch (error) {
        if (!isRefusal(error)) throw error;
      }
    }
    return backend.recordEpoch(record);
  }

  /** An upload that is refused is halved until the item is found that spoils it. */
  async #uploadOnce(): Promise<boolean> {
    const { gateway, backend } = this.#parts;
    const upload = await gateway.nextUpload(this.#maxItems);
    if (!upload) return false;
    let receipt: Uint8Array;
    try {
      receipt = await backend.uploadReadings(upload.message);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      await this.#uploadRefused(upload, error);
      return true;
    }
    try {
      await gateway.acknowledge(upload, receipt, await backend.certificate());
    } catch (error) {
      backend.forgetCertificate();
      throw error;
    }
    this.#takes = true;
    this.#maxItems = Math.min(mostItems, 2 * this.#maxItems);
    return true;
  }

  async #uploadRefused({ positions }: PreparedUpload, refusal: PeerRefusal): Promise<void> {
    const [position] = positions;
    if (position === undefined || positions.length > 1) {
      this.#maxItems = Math.ceil(positions.length / 2);
      return;
    }
    const what = `item ${position}`;
    if (!this.#isForGood(what, refusal)) throw refusal;
    await this.#parts.store.setAside(position, refusal.code);
    this.#setAside(what, refusal);
  }

  #isForGood(what: string, { status }: PeerRefusal): boolean {
    if (status !== 403) return true;
    const refusals = (this.#refusals.get(what) ?? 0) + 1;
    this.#refusals.set(what, refusals);
    return refusals >= triesOfUnbelieved && this.#takes;
  }

  #setAside(what: string, { code }: PeerRefusal): void {
    this.#refusals.delete(what);
    this.#takes = false;
    this.#parts.runtime.log.warn({ what, code }, 'the backend refuses something for good; it is set aside');
    this.#parts.runtime.emit({ event: 'set-aside', what, code });
  }
}

/** The backend has looked at it and does not want it; who is not let in, or too fast, may come again. */
const isRefusal = (error: unknown): error is PeerRefusal =>
  error instanceof PeerRefusal && [400, 403, 409, 413].includes(error.status) && error.code !== 'membership-unknown';
