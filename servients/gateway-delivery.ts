/** What a gateway brings to the backend: records of epochs first, then sealed readings, the oldest first. */
import { GridringError } from '../crypto/errors.js';
import type { Gateway } from '../things/gateway.js';
import type { AgreedEpoch, GatewayStore } from '../things/stores.js';
import type { BackendClient } from './backend-client.js';
import { PeerRefusal } from './bindings/peer-refusal.js';
import { backoffMs, codeOf, sleep, type Runtime } from './runtime.js';

interface DeliveryParts {
  readonly gateway: Gateway;
  readonly store: GatewayStore;
  readonly backend: BackendClient;
  readonly runtime: Runtime;
}

/** What the backend refuses so often, while it takes other things, it refuses for good. */
const refusalsForGood = 3;
const longestPauseMs = 5_000;

export class Delivery {
  readonly #parts: DeliveryParts;
  /** Refusals of a record, by group and epoch. */
  readonly #refusals = new Map<string, number>();

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
      } catch (error) {
        if (!isRefusal(error)) throw error;
        if (!(await this.#refusedForGood(agreed, error))) refusal = error;
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

  async #refusedForGood({ gid, epoch, attempt }: AgreedEpoch, { code }: PeerRefusal): Promise<boolean> {
    const { store, runtime } = this.#parts;
    const key = `${String(gid)}/${String(epoch)}.${String(attempt)}`;
    const refusals = (this.#refusals.get(key) ?? 0) + 1;
    this.#refusals.set(key, refusals);
    if (refusals < refusalsForGood) return false;
    await store.setRecordAside(gid, epoch, attempt, code);
    this.#refusals.delete(key);
    runtime.log.warn({ epoch, attempt, code }, 'the backend refuses a record for good; it is set aside');
    runtime.emit({ event: 'record-set-aside', epoch, attempt, code });
    return true;
  }

  async #uploadOnce(): Promise<boolean> {
    const { gateway, backend } = this.#parts;
    const upload = await gateway.nextUpload();
    if (!upload) return false;
    const receipt = await backend.uploadReadings(upload.message);
    try {
      await gateway.acknowledge(upload, receipt, await backend.certificate());
    } catch (error) {
      backend.forgetCertificate();
      throw error;
    }
    return true;
  }
}

/** The backend has looked at it and does not want it; who is not let in, or too fast, may come again. */
const isRefusal = (error: unknown): error is PeerRefusal =>
  error instanceof PeerRefusal && [400, 403, 409, 413].includes(error.status);
