/** What a gateway brings to the backend: records of epochs first, then sealed readings, the oldest first. */
import { toHex } from '../crypto/bytes.js';
import { GridringError } from '../crypto/errors.js';
import type { Gateway } from '../things/gateway.js';
import type { AgreedEpoch, GatewayStore } from '../things/stores.js';
import type { PreparedUpload } from '../things/upload.js';
import type { BackendClient } from './backend-client.js';
import type { PeerRefusal } from './bindings/peer-refusal.js';
import { backoffMs, codeOf, sleep, type Runtime } from './runtime.js';
import { isRefusal, Judgement, Uploader } from './uploader.js';

interface DeliveryParts {
  readonly gateway: Gateway;
  readonly store: GatewayStore;
  readonly backend: Pick<
    BackendClient,
    'recordEpoch' | 'publishMembership' | 'uploadReadings' | 'certificate' | 'forgetCertificate'
  >;
  readonly runtime: Runtime;
}

const longestPauseMs = 5_000;

export class Delivery {
  readonly #parts: DeliveryParts;
  readonly #judgement: Judgement;
  readonly #uploader: Uploader;

  constructor(parts: DeliveryParts) {
    const { gateway, store, backend, runtime } = parts;
    this.#parts = parts;
    this.#judgement = new Judgement((what, code) => {
      runtime.log.warn({ what, code }, 'the backend refuses something for good; it is set aside');
      runtime.emit({ event: 'set-aside', what, code });
    });
    this.#uploader = new Uploader({
      next: (maxItems, afterPosition) => gateway.nextUpload(maxItems, afterPosition),
      outbox: store,
      judgement: this.#judgement,
      send: (upload) => backend.uploadReadings(upload),
      acknowledge: (upload, receipt) => this.#acknowledge(upload, receipt),
    });
  }

  /** A backend that is away is waited for, and nothing is dropped. */
  async run(signal: AbortSignal): Promise<void> {
    const { gateway, store, runtime } = this.#parts;
    let away = false;
    for (let failures = 0; !signal.aborted;) {
      try {
        await this.#reportRecords();
        const delivered = await this.#uploader.once();
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
        await sleep(backoffMs(failures++, error, longestPauseMs), signal);
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
        this.#judgement.taken();
      } catch (error) {
        if (!isRefusal(error)) throw error;
        const { gid, epoch, attempt } = agreed;
        const what = `record ${epoch}.${attempt} of ${toHex(gid)}`;
        if (this.#judgement.isForGood(what, error)) {
          await store.setRecordAside(gid, epoch, attempt, error.code);
          this.#judgement.setAside(what, error);
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

  async #acknowledge(upload: PreparedUpload, receipt: Uint8Array): Promise<void> {
    const { gateway, backend } = this.#parts;
    try {
      await gateway.acknowledge(upload, receipt, await backend.certificate());
    } catch (error) {
      backend.forgetCertificate();
      throw error;
    }
  }
}
