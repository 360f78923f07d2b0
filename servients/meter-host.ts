/** A process that is one or more meters, each with its own folder, certificate, Thing and port. */
import { randomBytes } from 'node:crypto';
import { Servient } from '@node-wot/core';
import { CertificateCache } from '../crypto/certificate/cache.js';
import type { Renewal } from '../crypto/membership.js';
import { suiteByName } from '../crypto/suite-node.js';
import { belongsTo, makeThing, makeUncallableTd } from '../td/make-td.js';
import { Meter } from '../things/meter.js';
import { CoapClientFactory } from './bindings/coap-client.js';
import { CoapServer } from './bindings/coap-server.js';
import { RefusingHttpClientFactory } from './bindings/http-client.js';
import { hostOf } from './bindings/host.js';
import { HttpServer } from './bindings/http-server.js';
import type { MeterConfig, MeterHostConfig } from './config.js';
import { openDataFolder } from './data-folder.js';
import { exposeThing } from './expose.js';
import { GatewayLink } from './gateway-link.js';
import { readIdentity } from './identity-files.js';
import { MeterProcess, type MeterSummary } from './meter-process.js';
import { MeterUplink } from './meter-uplink.js';
import { operateOutbox } from './operations/outbox.js';
import { OutboxWatch } from './outbox-watch.js';
import { codeOf, Refusals, type Runtime } from './runtime.js';
import { RenewalLoop, takeRenewal } from './renewal.js';
import { finishRenewal } from './renewal-files.js';
import { Restarting } from './restarting.js';
import { readTrust, takeTrust } from './trust-files.js';
import { stopServient } from './servient.js';
import { openSource, sharedRecordings } from './sources/open-source.js';
import { clockOff, type Clock } from './sources/replay-clock.js';
import type { ReadingSource } from './sources/source.js';
import { countReadings } from './pending.js';
import { openMeterStore } from './stores/sqlite/meter-store.js';

export interface RunningMeters {
  /** Ends reading, delivers what it can in the time, and stops everything. */
  close(drainMs: number): Promise<readonly MeterSummary[]>;
}

/** @throws SetupError when a file, folder or port of any meter cannot be used; nothing is left running then */
export async function runMeterHost(config: MeterHostConfig, runtime: Runtime): Promise<RunningMeters> {
  const certificateCache = new CertificateCache();
  const recordingOf = sharedRecordings();
  const started: Restarting<MeterProcess>[] = [];
  try {
    for (const meter of config.meters) {
      const clock = clockOff(meter.clockErrorS);
      const source = await openSource(meter.source, recordingOf, clock, (error) => {
        runtime.log.warn({ meter: meter.id, code: codeOf(error), err: error }, 'the source of readings cannot be read');
      });
      const begin = (restart: () => void): Promise<MeterProcess> =>
        startMeter(config, meter, certificateCache, { source, clock, restart }, runtime);
      started.push(await Restarting.start({ begin, end: (running) => running.close(0), log: runtime.log }));
    }
  } catch (error) {
    await closeAll(started, 0);
    throw error;
  }
  runtime.emit({ event: 'meters-started', meters: started.length });
  return { close: (drainMs) => closeAll(started, drainMs) };
}

async function closeAll(
  meters: readonly Restarting<MeterProcess>[],
  drainMs: number,
): Promise<readonly MeterSummary[]> {
  const summaries = await Promise.all(meters.map(async (meter) => (await meter.close())?.close(drainMs)));
  return summaries.flatMap((summary) => summary ?? []);
}

async function startMeter(
  host: MeterHostConfig,
  config: MeterConfig,
  certificateCache: CertificateCache,
  { source, clock, restart }: { readonly source: ReadingSource; readonly clock: Clock; readonly restart: () => void },
  runtime: Runtime,
): Promise<MeterProcess> {
  const suite = suiteByName(host.suite);
  finishRenewal(suite, config);
  const identity = readIdentity(suite, config);
  const take = (renewal: Renewal): void => {
    if (takeRenewal({ suite, files: config, runtime }, renewal)) restart();
  };
  const folder = openDataFolder(config.dataDir, 'meter', host.suite);
  const store = openMeterStore(folder.databasePath, { maxBytes: config.diskBytes });
  const servient = servientOf(config, runtime);
  const release = async (): Promise<void> => {
    await stopServient(servient);
    store.close();
    folder.close();
  };
  try {
    await store.putBack().catch((error: unknown) => {
      runtime.log.warn({ meter: config.id, err: error }, 'what was set aside could not be put back');
    });
    const meter = await Meter.load({
      suite,
      identity,
      ...readTrust(suite, host.root),
      certificateCache,
      onTrust: (roots) => {
        if (takeTrust({ suite, rootFile: host.root, runtime }, roots)) restart();
      },
      store,
      nowS: () => Math.floor(clock.nowMs() / 1000),
      random: randomBytes,
      log: runtime.log,
      version: runtime.version,
      readingIntervalS: source.intervalS,
      interval: source.interval,
      sourceName: source.name,
      restoredS: folder.restoredS,
      onRenewal: take,
      onHome: (tdUrls) => {
        const url = tdUrls.find(isReachable);
        if (url !== undefined) uplink.moveTo(url);
      },
    });
    // The process may have ended before it took it.
    meter.groups.tellOfChanges();
    const gatewayTd = config.gatewayTd ?? host.gateway.td;
    // A meter speaks one binding.
    const isReachable = (url: string): boolean => isCoap(url) === isCoap(gatewayTd);
    const [home = gatewayTd, ...others] = [...meter.homeUrls, gatewayTd, ...host.gateway.others].filter(isReachable);
    const link = new GatewayLink(servient, [home, ...others]);
    const td = JSON.stringify(await describe(config, servient, meter, gatewayTd, runtime));
    runtime.operations?.metrics.certificate(config.id, identity.leaf.notAfterS);
    if (runtime.operations) operateOutbox(runtime.operations, config, store);
    const uplink = new MeterUplink({ id: config.id, meter, store, td, link, log: runtime.log });
    const ask = (message: Uint8Array): Promise<void> => uplink.renew(message);
    const nowS = (): number => Math.floor(clock.nowMs() / 1000);
    return new MeterProcess({
      id: config.id,
      meter,
      uplink,
      renewal: new RenewalLoop({ suite, files: config, identity, nowS, ask, runtime }),
      watch: new OutboxWatch({
        ...{ id: config.id, outbox: store, runtime },
        onAlarm: () => {
          meter.outboxChanged();
        },
      }),
      source,
      reportIntervalMs: host.reportIntervalS * 1000,
      wakeIntervalMs: config.callable ? undefined : config.wakeIntervalS * 1000,
      runtime,
      pendingReadings: () => countReadings(store),
      release,
    });
  } catch (error) {
    await release();
    throw error;
  }
}

const isCoap = (url: string): boolean => new URL(url).protocol === 'coap:';

/** A meter that cannot be called opens no port. */
function servientOf({ id, callable, listen }: MeterConfig, runtime: Runtime): Servient {
  const { address, port, scheme, advertise } = listen;
  const server = { address, port, host: hostOf(advertise.host ?? address), advertisedPort: advertise.port };
  const refusals = new Refusals(runtime.log.child({ meter: id }), runtime.operations?.metrics);
  const servient = new Servient();
  if (callable) {
    servient.addServer(
      scheme === 'coap'
        ? new CoapServer({ ...server, observer: refusals.coap })
        : new HttpServer({ ...server, observer: refusals.http }),
    );
  }
  servient.addClientFactory(scheme === 'coap' ? new CoapClientFactory() : new RefusingHttpClientFactory());
  return servient;
}

/** Exposes the meter where it can be called. @returns its Thing Description */
async function describe(
  { id, callable }: MeterConfig,
  servient: Servient,
  meter: Meter,
  gatewayTd: string,
  runtime: Runtime,
): Promise<object> {
  const links = [belongsTo(gatewayTd)];
  const instance = { id: `urn:gridring:meter:${id}`, title: id, version: runtime.version, links };
  if (!callable) return makeUncallableTd(instance);
  const thing = await exposeThing(servient, makeThing('meter', instance), meter, (error) => {
    runtime.log.warn({ meter: id, err: error }, 'a change could not be announced');
  });
  return thing.getThingDescription();
}
