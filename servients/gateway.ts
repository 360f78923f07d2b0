/** A process that is a gateway: Things towards meters over CoAP and HTTP, a client of directory and backend. */
import { randomBytes } from 'node:crypto';
import { Servient } from '@node-wot/core';
import { readFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import type { CaCertificate } from '../crypto/certificate.js';
import { parseCertificate } from '../crypto/certificate.js';
import { GridringError, SetupError } from '../crypto/errors.js';
import { suiteByName } from '../crypto/suite-node.js';
import { makeThing } from '../td/make-td.js';
import { validateTd } from '../td/validate-td.js';
import { Gateway } from '../things/gateway.js';
import type { GatewayStore } from '../things/stores.js';
import { BackendClient } from './backend-client.js';
import { CoapClientFactory } from './bindings/coap-client.js';
import { CoapServer } from './bindings/coap-server.js';
import { RefusingHttpClientFactory } from './bindings/http-client.js';
import { HttpServer } from './bindings/http-server.js';
import { makeTokenSource } from './bindings/token.js';
import type { GatewayConfig } from './config.js';
import { openDataFolder } from './data-folder.js';
import { DirectoryClient } from './directory-client.js';
import { exposeThing } from './expose.js';
import { readCertificates, readIdentity } from './identity-files.js';
import { MemberLinks } from './member-links.js';
import { backoffMs, codeOf, Refusals, sleep, systemNowS, type Runtime } from './runtime.js';
import { countReadings } from './pending.js';
import { stopServient } from './servient.js';
import { openGatewayStore } from './stores/sqlite/gateway-store.js';

export interface RunningGateway {
  /** Delivers what it can in the time, and stops everything. @returns readings that the backend does not have yet */
  close(drainMs: number): Promise<{ readonly pendingReadings: number }>;
}

/** Registrations are renewed well before they run out, so that a gateway that is gone for good disappears. */
const registrationTtlS = 86_400;
const registrationPeriodMs = 3_600_000;

/** @throws SetupError when a file, folder or port cannot be used, VerificationError when the membership list does not verify */
export async function runGateway(config: GatewayConfig, runtime: Runtime): Promise<RunningGateway> {
  const suite = suiteByName(config.suite);
  const trustedRoots = readCertificates(suite, config.root, 'root certificate');
  const identity = readIdentity(suite, config);
  const intermediates = identity.certificates
    .slice(1)
    .map((der) => parseCertificate(suite, der))
    .filter((certificate): certificate is CaCertificate => certificate.role === 'ca');
  const token = makeTokenSource(
    { suite, secret: identity.secret, certificate: identity.leaf, intermediates },
    config.backend.audience,
    systemNowS,
  );
  const backend = new BackendClient({ suite, trustedRoots, url: config.backend.url, token });
  const directory = new DirectoryClient({ url: config.backend.url, token });
  const folder = openDataFolder(config.dataDir, 'gateway', config.suite);
  const store = openGatewayStore(folder.databasePath);
  const refusals = new Refusals(runtime.log);
  const servient = new Servient();
  const { address, coapPort, httpPort } = config.listen;
  servient.addServer(new CoapServer({ address, port: coapPort, observer: refusals.coap }));
  servient.addServer(new HttpServer({ address, port: httpPort, observer: refusals.http }));
  servient.addClientFactory(new CoapClientFactory());
  servient.addClientFactory(new RefusingHttpClientFactory());
  const release = async (): Promise<void> => {
    await stopServient(servient);
    store.close();
    folder.close();
  };
  try {
    const registrations = new Registrations(directory, runtime, () => {
      gateway.wake();
    });
    const members = new MemberLinks(servient, directory, () => gateway.enrolments, runtime.log);
    const gateway: Gateway = await Gateway.load(
      {
        suite,
        identity,
        trustedRoots,
        store,
        members,
        nowS: systemNowS,
        nowMs: () => performance.now(),
        random: randomBytes,
        log: runtime.log,
        version: runtime.version,
        tdFault,
        sleep,
        ...config.group,
        settled: () => registrations.pending === 0,
        onEnrolled: ({ id, td }) => {
          members.forget(id);
          registrations.add(id, td);
          runtime.emit({ event: 'enrolled', id, enrolled: gateway.enrolments.length });
        },
        onAgreement: (group) => {
          runtime.emit({ event: 'agreement-started', ...group });
        },
        onEpoch: (outcome) => {
          runtime.emit({ event: 'epoch', ...outcome });
        },
        onFailed: (failure) => {
          runtime.emit({ event: 'agreement-failed', ...failure });
        },
      },
      [config.membership].flat().map(readMembership),
    );
    const id = `urn:gridring:gateway:${config.id}`;
    const instance = { id, title: config.id, version: runtime.version };
    const thing = await exposeThing(servient, makeThing('gateway', instance), gateway, (error) => {
      runtime.log.warn({ err: error }, 'a change could not be announced');
    });
    registrations.add(id, JSON.stringify(thing.getThingDescription()));
    for (const enrolment of gateway.enrolments) registrations.add(enrolment.id, enrolment.td);
    runtime.emit({ event: 'gateway-started', coapPort, httpPort });
    return new GatewayProcess({ gateway, store, backend, registrations, runtime, release });
  } catch (error) {
    await release();
    throw error;
  }
}

function readMembership(path: string): Uint8Array {
  try {
    return new Uint8Array(readFileSync(path));
  } catch (cause) {
    throw new SetupError('file-unreadable', `membership list: ${path} cannot be read; check the path`, cause);
  }
}

function tdFault(td: unknown): string | undefined {
  const verdict = validateTd(td);
  if (verdict.valid) return undefined;
  const [first] = verdict.errors;
  return first ? `${first.field}: ${first.description}` : 'not a Thing Description';
}

/** Puts TDs into the directory, in the background and again before they expire; a directory that is away is waited for. */
class Registrations {
  readonly #directory: DirectoryClient;
  readonly #runtime: Runtime;
  readonly #onSettled: () => void;
  readonly #all = new Map<string, string>();
  readonly #due = new Set<string>();
  #wake = new AbortController();

  /** @param onSettled hears when everything that was added is in the directory */
  constructor(directory: DirectoryClient, runtime: Runtime, onSettled: () => void) {
    this.#directory = directory;
    this.#runtime = runtime;
    this.#onSettled = onSettled;
  }

  get pending(): number {
    return this.#due.size;
  }

  add(id: string, td: string): void {
    const described = JSON.parse(td) as object;
    this.#all.set(id, JSON.stringify({ ...described, registration: { ttl: registrationTtlS } }));
    this.#due.add(id);
    this.#wake.abort();
  }

  async run(signal: AbortSignal): Promise<void> {
    for (let failures = 0; !signal.aborted;) {
      try {
        for (const id of [...this.#due]) {
          await this.#directory.register(id, this.#all.get(id) ?? '');
          this.#due.delete(id);
          this.#runtime.emit({ event: 'registered', id });
        }
        failures = 0;
        this.#wake = new AbortController();
        if (this.#due.size > 0) continue;
        this.#onSettled();
        await sleep(registrationPeriodMs, AbortSignal.any([signal, this.#wake.signal]));
        if (!this.#wake.signal.aborted) for (const id of this.#all.keys()) this.#due.add(id);
      } catch (error) {
        this.#runtime.log.warn(
          { code: codeOf(error), err: error },
          'the directory takes no registration; trying again',
        );
        await sleep(backoffMs(failures++), signal);
      }
    }
  }
}

class GatewayProcess implements RunningGateway {
  readonly #gateway: Gateway;
  readonly #store: GatewayStore;
  readonly #backend: BackendClient;
  readonly #runtime: Runtime;
  readonly #release: () => Promise<void>;
  readonly #running = new AbortController();
  readonly #loops: readonly Promise<void>[];

  constructor(parts: {
    readonly gateway: Gateway;
    readonly store: GatewayStore;
    readonly backend: BackendClient;
    readonly registrations: Registrations;
    readonly runtime: Runtime;
    readonly release: () => Promise<void>;
  }) {
    this.#gateway = parts.gateway;
    this.#store = parts.store;
    this.#backend = parts.backend;
    this.#runtime = parts.runtime;
    this.#release = parts.release;
    this.#loops = [
      parts.registrations.run(this.#running.signal),
      this.#gateway.keepKeyed(this.#running.signal),
      this.#deliver(),
    ];
  }

  async close(drainMs: number): Promise<{ readonly pendingReadings: number }> {
    await Promise.race([this.#drained(), sleep(drainMs, AbortSignal.timeout(drainMs))]);
    this.#running.abort();
    this.#gateway.stop();
    await Promise.race([Promise.allSettled(this.#loops), sleep(500, AbortSignal.timeout(500))]);
    const pendingReadings = await countReadings(this.#store);
    await this.#release();
    return { pendingReadings };
  }

  async #drained(): Promise<void> {
    while (!this.#running.signal.aborted && (await this.#store.outboxStatus()).depth > 0) {
      await sleep(20, this.#running.signal);
    }
  }

  /** Records of epochs first, then readings, oldest first; a backend that is away is waited for, and nothing is dropped. */
  async #deliver(): Promise<void> {
    const { signal } = this.#running;
    let away = false;
    for (let failures = 0; !signal.aborted;) {
      try {
        await this.#reportRecords();
        const delivered = await this.#uploadOnce();
        if (away) this.#runtime.emit({ event: 'backend-back' });
        away = false;
        failures = 0;
        if (!delivered) await sleep(100, signal);
      } catch (error) {
        const code = codeOf(error);
        this.#gateway.deliveryFailed(code);
        if (!away) {
          const { depth } = await this.#store.outboxStatus();
          this.#runtime.emit({ event: 'backend-away', code, buffered: depth });
        }
        away = true;
        this.#runtime.log.warn({ code, err: error }, 'the backend takes nothing now; it is kept here');
        await sleep(Math.min(backoffMs(failures++), 5_000), signal);
      }
    }
  }

  async #reportRecords(): Promise<void> {
    for (const { gid, epoch, attempt, record } of await this.#store.unreportedRecords()) {
      try {
        await this.#backend.recordEpoch(record);
      } catch (error) {
        if (!(error instanceof GridringError && error.code === 'membership-unknown')) throw error;
        await this.#backend.publishMembership(this.#gateway.group(gid).membershipBundle);
        await this.#backend.recordEpoch(record);
      }
      await this.#store.markReported(gid, epoch, attempt);
    }
  }

  async #uploadOnce(): Promise<boolean> {
    const upload = await this.#gateway.nextUpload();
    if (!upload) return false;
    const receipt = await this.#backend.uploadReadings(upload.message);
    try {
      await this.#gateway.acknowledge(upload, receipt, await this.#backend.certificate());
    } catch (error) {
      this.#backend.forgetCertificate();
      throw error;
    }
    return true;
  }
}
