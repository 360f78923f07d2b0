/** A process that is one or more meters, each with its own folder, certificate, Thing and port. */
import { randomBytes } from 'node:crypto';
import { Servient } from '@node-wot/core';
import type { Reading } from '../crypto/envelope/senml.js';
import { GridringError } from '../crypto/errors.js';
import type { Certificate } from '../crypto/certificate.js';
import { suiteByName } from '../crypto/suite-node.js';
import { makeThing } from '../td/make-td.js';
import { Meter } from '../things/meter.js';
import { CoapClientFactory } from './bindings/coap-client.js';
import { CoapServer } from './bindings/coap-server.js';
import { RefusingHttpClientFactory } from './bindings/http-client.js';
import { HttpServer } from './bindings/http-server.js';
import type { MeterConfig, MeterHostConfig } from './config.js';
import { openDataFolder } from './data-folder.js';
import { exposeThing } from './expose.js';
import { GatewayLink } from './gateway-link.js';
import { readCertificates, readIdentity } from './identity-files.js';
import { backoffMs, codeOf, Refusals, sleep, systemNowS, type Runtime } from './runtime.js';
import { stopServient } from './servient.js';
import { csvReplay } from './sources/csv.js';
import { readRecording, shippedReadings, type Recording } from './sources/csv-file.js';
import { systemClock } from './sources/replay-clock.js';
import type { ReadingSource } from './sources/source.js';
import { countReadings } from './pending.js';
import { openMeterStore } from './stores/sqlite/meter-store.js';

interface MeterSummary {
  readonly id: string;
  /** Sequence of the last reading: how many there ever were. */
  readonly lastSequence: number;
  /** Sealed readings that the gateway does not have yet. */
  readonly pendingReadings: number;
  readonly keyed: boolean;
}

export interface RunningMeters {
  /** Ends reading, delivers what it can in the time, and stops everything. */
  close(drainMs: number): Promise<readonly MeterSummary[]>;
}

/** @throws SetupError when a file, folder or port of any meter cannot be used; nothing is left running then */
export async function runMeterHost(config: MeterHostConfig, runtime: Runtime): Promise<RunningMeters> {
  const root = readCertificates(suiteByName(config.suite), config.root, 'root certificate');
  const recordings = new Map<string, Promise<Recording>>();
  const recordingOf = ({ source: { path = shippedReadings() } }: MeterConfig): Promise<Recording> => {
    const recording = recordings.get(path) ?? readRecording(path);
    recordings.set(path, recording);
    return recording;
  };
  const started: MeterProcess[] = [];
  try {
    for (const meter of config.meters) {
      const source = csvReplay(await recordingOf(meter), meter.source, systemClock);
      started.push(await MeterProcess.start(config, meter, root, source, runtime));
    }
  } catch (error) {
    await Promise.allSettled(started.map((meter) => meter.close(0)));
    throw error;
  }
  runtime.emit({ event: 'meters-started', meters: started.length });
  return { close: (drainMs) => Promise.all(started.map((meter) => meter.close(drainMs))) };
}

class MeterProcess {
  readonly #meter: Meter;
  readonly #td: string;
  readonly #link: GatewayLink;
  readonly #runtime: Runtime;
  readonly #reportIntervalMs: number;
  readonly #summary: () => Promise<MeterSummary>;
  readonly #release: () => Promise<void>;
  readonly #reading = new AbortController();
  readonly #running = new AbortController();
  #wakeUplink = new AbortController();
  readonly #loops: readonly Promise<void>[];

  private constructor(parts: {
    readonly meter: Meter;
    readonly id: string;
    readonly td: string;
    readonly link: GatewayLink;
    readonly source: ReadingSource;
    readonly reportIntervalMs: number;
    readonly runtime: Runtime;
    readonly pendingReadings: () => Promise<number>;
    readonly release: () => Promise<void>;
  }) {
    const { meter, id, pendingReadings } = parts;
    this.#meter = meter;
    this.#td = parts.td;
    this.#link = parts.link;
    this.#runtime = parts.runtime;
    this.#reportIntervalMs = parts.reportIntervalMs;
    this.#release = parts.release;
    this.#summary = async () => ({
      id,
      lastSequence: meter.lastSequence,
      pendingReadings: await pendingReadings(),
      keyed: meter.keyed,
    });
    this.#loops = [this.#read(id, parts.source), this.#deliver(id), this.#tick()];
  }

  static async start(
    host: MeterHostConfig,
    config: MeterConfig,
    trustedRoots: readonly Certificate[],
    source: ReadingSource,
    runtime: Runtime,
  ): Promise<MeterProcess> {
    const suite = suiteByName(host.suite);
    const identity = readIdentity(suite, config);
    const folder = openDataFolder(config.dataDir, 'meter', host.suite);
    const store = openMeterStore(folder.databasePath);
    const { address, port, scheme } = config.listen;
    const refusals = new Refusals(runtime.log.child({ meter: config.id }));
    const servient = new Servient();
    servient.addServer(
      scheme === 'coap'
        ? new CoapServer({ address, port, observer: refusals.coap })
        : new HttpServer({ address, port, observer: refusals.http }),
    );
    servient.addClientFactory(scheme === 'coap' ? new CoapClientFactory() : new RefusingHttpClientFactory());
    const release = async (): Promise<void> => {
      await stopServient(servient);
      store.close();
      folder.close();
    };
    try {
      const meter = await Meter.load({
        suite,
        identity,
        trustedRoots,
        store,
        nowS: systemNowS,
        random: randomBytes,
        log: runtime.log,
        version: runtime.version,
        readingIntervalS: 60,
        sourceName: 'replay',
      });
      const instance = { id: `urn:gridring:meter:${config.id}`, title: config.id, version: runtime.version };
      const thing = await exposeThing(servient, makeThing('meter', instance), meter, (error) => {
        runtime.log.warn({ meter: config.id, err: error }, 'a change could not be announced');
      });
      return new MeterProcess({
        meter,
        id: config.id,
        td: JSON.stringify(thing.getThingDescription()),
        link: new GatewayLink(servient, config.gatewayTd ?? host.gateway.td),
        source,
        reportIntervalMs: host.reportIntervalS * 1000,
        runtime,
        pendingReadings: () => countReadings(store),
        release,
      });
    } catch (error) {
      await release();
      throw error;
    }
  }

  async close(drainMs: number): Promise<MeterSummary> {
    this.#reading.abort();
    this.#wakeUplink.abort();
    const drained = this.#drained();
    await Promise.race([drained, sleep(drainMs, AbortSignal.timeout(drainMs))]);
    this.#running.abort();
    await Promise.race([Promise.allSettled(this.#loops), sleep(500, AbortSignal.timeout(500))]);
    const summary = await this.#summary();
    await this.#release();
    return summary;
  }

  async #drained(): Promise<void> {
    while (!this.#running.signal.aborted && (await this.#meter.nextUpload()) !== undefined) {
      await sleep(20, this.#running.signal);
    }
  }

  /** Readings wait at their source until there is a key, and until they are on disk. */
  async #read(id: string, source: ReadingSource): Promise<void> {
    const { signal } = this.#reading;
    while (!this.#meter.keyed && !signal.aborted) await sleep(100, signal);
    if (!this.#meter.keyed) return;
    for await (const reading of source.readings(this.#meter.lastReading ?? undefined, signal)) {
      if (!(await this.#report(id, reading, signal))) return;
      this.#wakeUplink.abort();
    }
  }

  /** @returns whether it is on disk; not when the process stops first, and the source gives it again after a restart */
  async #report(id: string, reading: Reading, signal: AbortSignal): Promise<boolean> {
    for (let failures = 0; ; failures++) {
      try {
        await this.#meter.report(reading);
        return true;
      } catch (error) {
        if (!(error instanceof GridringError)) throw error;
        this.#runtime.log.warn({ meter: id, code: error.code }, 'a reading cannot be kept yet; it waits');
        await sleep(backoffMs(failures), signal);
        if (signal.aborted) return false;
      }
    }
  }

  /** Enrols, then uploads whatever there is, for as long as the meter runs. */
  async #deliver(id: string): Promise<void> {
    const { signal } = this.#running;
    let enrolled = false;
    for (let failures = 0; !signal.aborted;) {
      try {
        if (!enrolled) await this.#enrol();
        enrolled = true;
        failures = 0;
        if (!(await this.#uploadOnce())) await this.#waitForReadings();
      } catch (error) {
        const code = codeOf(error);
        this.#runtime.log.warn({ meter: id, code, err: error }, 'the gateway cannot be served; trying again');
        await sleep(backoffMs(failures++), signal);
      }
    }
  }

  async #enrol(): Promise<void> {
    await this.#meter.updateMembership(await this.#link.invoke('enrol', this.#meter.enrolment(this.#td)));
  }

  async #uploadOnce(): Promise<boolean> {
    const upload = await this.#meter.nextUpload();
    if (!upload) return false;
    await this.#meter.acknowledge(upload, await this.#link.invoke('submitReadings', upload.message));
    return true;
  }

  async #waitForReadings(): Promise<void> {
    const either = AbortSignal.any([this.#wakeUplink.signal, this.#running.signal]);
    await sleep(60_000, either);
    this.#wakeUplink = new AbortController();
    if (!this.#reading.signal.aborted) await sleep(this.#reportIntervalMs, this.#reading.signal);
  }

  async #tick(): Promise<void> {
    const { signal } = this.#running;
    while (!signal.aborted) {
      await sleep(1_000, signal);
      await this.#meter.tick();
    }
  }
}
