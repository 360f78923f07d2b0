/** The backend of a village: the real one on its own database, and the real delivery to it, without a network between. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { vi } from 'vitest';
import { parseCertificate, verifyChain, type Role, type VerifiedCertificate } from '../../crypto/certificate.js';
import { equalBytes } from '../../crypto/bytes.js';
import { ChainAudit, type ChainFindings } from '../../crypto/envelope/audit.js';
import { parseEntry, type Entry } from '../../crypto/envelope/entry.js';
import { openGrant, verifyGrant } from '../../crypto/envelope/grant.js';
import { openReading } from '../../crypto/envelope/reading.js';
import { decodeSenml, type Reading } from '../../crypto/envelope/senml.js';
import { UnavailableError } from '../../crypto/errors.js';
import { Delivery } from '../../servients/gateway-delivery.js';
import { makeLog } from '../../servients/runtime.js';
import { openBackendStore, type OpenBackendStore } from '../../servients/stores/sqlite/backend-store.js';
import { Backend } from '../../things/backend.js';
import { at } from './forge.js';
import type { Principal } from './neighbourhood.js';
import type { Village } from './village.js';

export class VillageBackend {
  backend!: Backend;
  store!: OpenBackendStore;
  /** Nobody answers there. */
  away = false;
  readonly #village: Village;
  readonly #folder: string;

  private constructor(village: Village) {
    this.#village = village;
    this.#folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'gridring-backend-'));
  }

  /** With the first list. */
  static async build(village: Village): Promise<VillageBackend> {
    const built = new VillageBackend(village);
    await built.#open();
    await built.backend.publishMembership(village.n.bundle(village.n.list()));
    return built;
  }

  /** Ends, and starts again with another quota of its database. */
  async restart(maxBytes?: number): Promise<void> {
    this.store.close();
    await this.#open(maxBytes);
  }

  async #open(maxBytes?: number): Promise<void> {
    const { suite, root, backend, certificates } = this.#village.n;
    const { id } = backend.certificate;
    this.store = openBackendStore(join(this.#folder, 'backend.sqlite'), maxBytes === undefined ? {} : { maxBytes });
    this.backend = await Backend.load({
      ...{ suite, identity: { ...backend, id, certificates: [backend.certificate.der, at(certificates, 0)] } },
      ...{ trustedRoots: [root], log: makeLog('silent'), version: '0.1.0', nowS: () => this.#village.nowS(id) },
      ...{ store: this.store.backend, events: this.store.events, onEpochRecorded: () => undefined },
    });
  }

  close(): void {
    this.store.close();
    rmSync(this.#folder, { recursive: true });
  }

  /** The gateway tries to deliver until the check no longer fails. @returns the events that it told of meanwhile */
  async delivering(check: () => Promise<void>): Promise<readonly string[]> {
    const { gateway, store } = this.#village;
    const events: string[] = [];
    const runtime = { log: makeLog('silent'), emit: ({ event }: { event: string }) => events.push(event), version: '' };
    const controller = new AbortController();
    const delivery = new Delivery({ gateway, store, runtime, backend: this.#asSeenByGateway() });
    const running = delivery.run(controller.signal);
    try {
      await vi.waitFor(check, { timeout: 20_000, interval: 20 });
    } finally {
      controller.abort();
      await running;
    }
    return events;
  }

  /** All that a reader finds of a meter, verified; and what its chain proves. */
  async chainOf(i: number): Promise<{ readonly entries: readonly Entry[]; readonly findings: ChainFindings }> {
    const { suite, meters } = this.#village.n;
    const rows = await this.store.backend.entries(at(meters, i).certHash, 0, 10_000, 'any');
    const entries = rows.map(({ message }) => parseEntry(suite, message));
    const audit = new ChainAudit();
    for (const entry of entries) audit.add(entry);
    return { entries, findings: audit.findings };
  }

  /** What the utility reads of a meter, with the keys that it was granted. @throws Error for what it has no key of */
  async readingsOf(i: number): Promise<readonly Reading[]> {
    const { suite, utility, meters } = this.#village.n;
    const meter = at(meters, i);
    const granted = await this.store.backend.grants(meter.certHash, utility.certHash);
    const verified = this.#verified(meter, 'meter');
    const grants = granted.map((message) => verifyGrant(suite, verified, message));
    const { entries } = await this.chainOf(i);
    return entries.flatMap((entry) => {
      if (entry.kind !== 'reading') return [];
      const grant = grants.find(({ keyHash }) => equalBytes(keyHash, entry.keyHash));
      if (!grant) throw new Error(`no key for ${entry.sequence}`);
      return decodeSenml(openReading(suite, openGrant(suite, utility, grant), entry)).readings;
    });
  }

  #verified({ certificate }: Principal, role: Role): VerifiedCertificate {
    const { suite, root, certificates } = this.#village.n;
    const issuing = parseCertificate(suite, at(certificates, 0));
    return verifyChain(suite, certificate, [issuing], [root], this.#village.clock.nowS, role);
  }

  #asSeenByGateway() {
    const { backend } = this;
    const gateway = this.#verified(this.#village.n.gateway, 'gateway');
    const reach = async <T>(action: () => Promise<T>): Promise<T> => {
      if (this.away) throw new UnavailableError('backend-unreachable', 'nobody answers');
      return action();
    };
    return {
      recordEpoch: (record: Uint8Array) => reach(() => backend.recordEpoch(gateway, record)),
      publishMembership: (bundle: Uint8Array) =>
        reach(async () => {
          await backend.publishMembership(bundle);
        }),
      uploadReadings: (upload: Uint8Array) => reach(() => backend.uploadReadings(gateway, upload)),
      certificate: async () => this.#verified(this.#village.n.backend, 'backend'),
      forgetCertificate: () => undefined,
    };
  }
}
