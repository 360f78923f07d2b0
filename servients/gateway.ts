/** A process that is a gateway: Things towards meters over CoAP and HTTP, a client of directory and backend. */
import { randomBytes } from 'node:crypto';
import { Servient } from '@node-wot/core';
import { readFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { toHex } from '../crypto/bytes.js';
import { CertificateCache } from '../crypto/certificate/cache.js';
import { SetupError } from '../crypto/errors.js';
import { directoryMember, signRegistration } from '../crypto/registration.js';
import { suiteByName } from '../crypto/suite-node.js';
import { belongsTo, makeThing } from '../td/make-td.js';
import { validateTd } from '../td/validate-td.js';
import { Gateway } from '../things/gateway.js';
import type { GatewayStore } from '../things/stores.js';
import { BackendClient } from './backend-client.js';
import { CoapClientFactory } from './bindings/coap-client.js';
import { CoapServer } from './bindings/coap-server.js';
import { RefusingHttpClientFactory } from './bindings/http-client.js';
import { hostOf } from './bindings/host.js';
import { HttpServer } from './bindings/http-server.js';
import { makeFetch } from './bindings/tls-fetch.js';
import { tokenHolder } from './bindings/token.js';
import type { GatewayConfig } from './config.js';
import { openDataFolder } from './data-folder.js';
import { DirectoryClient } from './directory-client.js';
import { discover, type Discovery } from './discovery.js';
import { exposeThing } from './expose.js';
import { readIdentity } from './identity-files.js';
import { makeDeviceFetch } from './issuer-client.js';
import { Delivery } from './gateway-delivery.js';
import { CommandExchange } from './gateway-commands.js';
import { ListExchange } from './gateway-lists.js';
import { enrolledTd, MemberLinks } from './member-links.js';
import { operateOutbox } from './operations/outbox.js';
import { OutboxWatch } from './outbox-watch.js';
import { codeOf, Refusals, sleep, systemNowS, type Runtime } from './runtime.js';
import { countReadings } from './pending.js';
import { Registrations } from './registrations.js';
import { Summons } from './summons.js';
import { RenewalLoop, takeRenewal } from './renewal.js';
import { finishRenewal } from './renewal-files.js';
import { Restarting } from './restarting.js';
import { readTrust, takeTrust } from './trust-files.js';
import { stopServient } from './servient.js';
import { openGatewayStore } from './stores/sqlite/gateway-store.js';

export interface RunningGateway {
  /** Delivers what it can in the time, and stops everything. @returns readings that the backend does not have yet */
  close(drainMs: number): Promise<{ readonly pendingReadings: number }>;
}

/** @throws SetupError when a file, folder or port cannot be used, VerificationError when the membership list does not verify */
export async function runGateway(config: GatewayConfig, runtime: Runtime): Promise<RunningGateway> {
  const begin = (restart: () => void): Promise<RunningGateway> => startGateway(config, runtime, restart);
  const gateway = await Restarting.start({ begin, end: (running) => running.close(0), log: runtime.log });
  return { close: async (drainMs) => (await gateway.close())?.close(drainMs) ?? { pendingReadings: 0 } };
}

async function startGateway(config: GatewayConfig, runtime: Runtime, restart: () => void): Promise<RunningGateway> {
  const suite = suiteByName(config.suite);
  finishRenewal(suite, config);
  const { trustedRoots, retiredRoots } = readTrust(suite, config.root);
  const identity = readIdentity(suite, config);
  const { certificates, secret, leaf: certificate } = identity;
  const { url, audience } = config.backend;
  const send = makeDeviceFetch({
    send: makeFetch({ roots: trustedRoots.map(({ der }) => der), identity: { suite, certificates, secret } }),
    ...{ url, audience, holder: tokenHolder({ suite, certificate, certificates, secret }), nowS: systemNowS },
  });
  const backend = new BackendClient({ suite, trustedRoots, url, fetch: send });
  const trust = { suite, trustedRoots, directory: audience, nowS: systemNowS };
  const directory = new DirectoryClient({ url, fetch: send, trust });
  const folder = openDataFolder(config.dataDir, 'gateway', config.suite);
  const store = openGatewayStore(folder.databasePath, { maxBytes: config.diskBytes });
  const refusals = new Refusals(runtime.log, runtime.operations?.metrics);
  const servient = new Servient();
  const { address, coapPort, httpPort, advertise } = config.listen;
  const host = hostOf(advertise.host ?? address);
  const [coap, http] = [{ advertisedPort: advertise.coapPort }, { advertisedPort: advertise.httpPort }];
  servient.addServer(new CoapServer({ address, port: coapPort, host, ...coap, observer: refusals.coap }));
  servient.addServer(new HttpServer({ address, port: httpPort, host, ...http, observer: refusals.http }));
  servient.addClientFactory(new CoapClientFactory());
  servient.addClientFactory(new RefusingHttpClientFactory());
  let things: Discovery | undefined;
  const release = async (): Promise<void> => {
    things?.close();
    await stopServient(servient);
    store.close();
    folder.close();
  };
  try {
    const registrations = new Registrations(directory, runtime, () => {
      gateway.wake();
    });
    const found = discover({
      ...{ directory: url, fetch: send, trust },
      wot: { consume: async (td) => (await servient.start()).consume(td) },
      own: (id) => enrolledTd(gateway.enrolments, id),
      onTrouble: (error, id) => {
        const fields = { code: codeOf(error), ...(id !== undefined && { id }) };
        if (id === undefined) runtime.log.debug(fields, 'the directory gives no notifications now');
        else runtime.log.warn(fields, 'the directory’s word on a member does not count; using what it enrolled with');
      },
    });
    things = found;
    const members = new MemberLinks(found, () => gateway.enrolments);
    const gateway: Gateway = await Gateway.load(
      {
        suite,
        identity,
        trustedRoots,
        retiredRoots,
        certificateCache: new CertificateCache(),
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
        onCommand: () => {
          commands.watch.wake();
        },
        onEnrolled: ({ id, td }) => {
          members.forget(id);
          registrations.add(id, () => JSON.parse(td) as object);
          runtime.emit({ event: 'enrolled', id, enrolled: gateway.enrolments.length });
        },
        onAgreement: (group) => {
          runtime.emit({ event: 'agreement-started', ...group });
        },
        onEpoch: (outcome) => {
          runtime.operations?.metrics.rekeyed(outcome.agreementMs);
          runtime.emit({ event: 'epoch', ...outcome });
        },
        relayRenewal: (message) => backend.renew(message),
        onMembership: ({ list }) => {
          takeChanges();
          lists.watch.wake();
          void putBack();
          runtime.emit({
            event: 'membership',
            gid: toHex(list.gid),
            listVersion: list.version,
            revision: list.revision,
          });
        },
        onFailed: (failure) => {
          runtime.operations?.metrics.rekeyFailed(failure.code);
          runtime.emit({ event: 'agreement-failed', ...failure });
        },
      },
      [config.membership].flat().map(readMembership),
    );
    const takeChanges = (): void => {
      const { renewal, newTrust } = gateway;
      if (newTrust && takeTrust({ suite, rootFile: config.root, runtime }, newTrust)) restart();
      if (renewal && takeRenewal({ suite, files: config, runtime }, renewal)) restart();
    };
    // The process may have ended before it took it.
    takeChanges();
    const putBack = (): Promise<void> =>
      store.putBack().catch((error: unknown) => {
        runtime.log.warn({ code: codeOf(error), err: error }, 'what was set aside could not be put back');
      });
    await putBack();
    const lists = new ListExchange(gateway.groups, backend, runtime);
    const commands = new CommandExchange({ gateway, backend, runtime });
    const delivery = new Delivery({ gateway, store, backend, runtime });
    const watch = new OutboxWatch({
      ...{ id: config.id, outbox: store, runtime },
      onAlarm: () => {
        gateway.outboxChanged();
      },
    });
    const ask = (message: Uint8Array): Promise<void> => backend.renew(message);
    const renewal = new RenewalLoop({ suite, files: config, identity, nowS: systemNowS, ask, runtime });
    const id = `urn:gridring:gateway:${config.id}`;
    const links = [belongsTo(`${url}/.well-known/wot`)];
    const instance = { id, title: config.id, version: runtime.version, links };
    const thing = await exposeThing(
      servient,
      { ...makeThing('gateway', instance), [directoryMember]: audience },
      gateway,
      (error) => {
        runtime.log.warn({ err: error }, 'a change could not be announced');
      },
    );
    const td = thing.getThingDescription();
    const summons = new Summons({ suite, identity, gateway, things: found, tdUrls: tdUrlsOf(td), runtime });
    registrations.add(id, () =>
      signRegistration(suite, identity, { ...td }, { directory: audience, timeS: systemNowS() }),
    );
    for (const enrolment of gateway.enrolments) {
      registrations.add(enrolment.id, () => JSON.parse(enrolment.td) as object);
    }
    runtime.operations?.metrics.certificate(config.id, identity.leaf.notAfterS);
    if (runtime.operations) operateOutbox(runtime.operations, config, store);
    runtime.emit({ event: 'gateway-started', coapPort, httpPort });
    return new GatewayProcess({
      gateway,
      store,
      loops: [
        ...[registrations, delivery, lists.watch, commands.watch, watch, renewal],
        ...(config.summons ? [summons] : []),
      ],
      release,
    });
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

/** Where its own Thing Description is, one URL for each binding. */
const tdUrlsOf = ({ base, properties }: WoT.ThingDescription): readonly string[] => {
  const hosts = (properties?.['identity']?.forms ?? []).map(({ href }) => {
    const { protocol, host } = new URL(href, base);
    return `${protocol}//${host}/.well-known/wot`;
  });
  return [...new Set(hosts)];
};

function tdFault(td: unknown): string | undefined {
  const verdict = validateTd(td);
  if (verdict.valid) return undefined;
  const [first] = verdict.errors;
  return first ? `${first.field}: ${first.description}` : 'not a Thing Description';
}

/** Something that goes on until the process ends. */
interface Loop {
  run(signal: AbortSignal): Promise<void>;
}

class GatewayProcess implements RunningGateway {
  readonly #gateway: Gateway;
  readonly #store: GatewayStore;
  readonly #release: () => Promise<void>;
  readonly #running = new AbortController();
  readonly #loops: readonly Promise<void>[];

  constructor(parts: {
    readonly gateway: Gateway;
    readonly store: GatewayStore;
    readonly loops: readonly Loop[];
    readonly release: () => Promise<void>;
  }) {
    const { gateway, store, loops, release } = parts;
    this.#gateway = gateway;
    this.#store = store;
    this.#release = release;
    const { signal } = this.#running;
    this.#loops = [gateway.keepKeyed(signal), ...loops.map((loop) => loop.run(signal))];
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
}
