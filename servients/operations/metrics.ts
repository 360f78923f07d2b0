/** What a process counts, for Prometheus. Loaded only where an operations port is configured. */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { DiskStatus, OutboxStatus, SetAside } from '../../things/stores.js';
import { spaceIn } from './readiness.js';
import { refusalKindOf } from './refusal-kinds.js';

const rekeyBucketsS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];
const requestBucketsS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];

interface Sample {
  readonly value: number;
  readonly labels?: Readonly<Record<string, string>>;
}

interface GaugeOptions {
  /** Without the prefix `gridring_`. */
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly string[];
  /** Asked at every scrape; when it throws, the gauge has no value. */
  readonly read: () => Promise<readonly Sample[]>;
}

interface OutboxParts {
  readonly outboxStatus: () => Promise<OutboxStatus>;
  readonly setAsideStatus: () => Promise<SetAside>;
  readonly diskStatus: () => Promise<DiskStatus>;
}

export class Metrics {
  readonly #registry = new Registry();
  readonly #refusals: Counter<'kind' | 'code' | 'binding'>;
  readonly #requests: Histogram<'method' | 'route' | 'status'>;
  readonly #rekeys: Histogram;
  readonly #rekeyFailures: Counter<'code'>;
  readonly #certificates = new Map<string, number>();
  readonly #outboxes = new Map<string, OutboxParts>();
  #hasFileSystem = false;

  constructor(role: string, version: string) {
    const registers = [this.#registry];
    this.#registry.setDefaultLabels({ role });
    collectDefaultMetrics({ register: this.#registry });
    this.#refusals = new Counter({
      name: 'gridring_refusals_total',
      help: 'What was refused, by its exact code, which the peer never learns',
      labelNames: ['kind', 'code', 'binding'],
      registers,
    });
    this.#requests = new Histogram({
      name: 'gridring_http_request_seconds',
      help: 'HTTP requests from their headers to the end of the answer',
      labelNames: ['method', 'route', 'status'],
      buckets: requestBucketsS,
      registers,
    });
    this.#rekeys = new Histogram({
      name: 'gridring_rekey_seconds',
      help: 'From the announcement of an epoch to the last confirmation',
      buckets: rekeyBucketsS,
      registers,
    });
    this.#rekeyFailures = new Counter({
      name: 'gridring_rekey_failures_total',
      help: 'Attempts that gave no key',
      labelNames: ['code'],
      registers,
    });
    this.gauge({
      name: 'build_info',
      help: 'Always 1',
      labels: ['version'],
      read: async () => [{ value: 1, labels: { version } }],
    });
  }

  refused(code: string, binding: string): void {
    this.#refusals.inc({ kind: refusalKindOf(code), code, binding });
  }

  request(method: string, route: string, status: number, durationMs: number): void {
    this.#requests.observe({ method, route, status: String(status) }, durationMs / 1_000);
  }

  rekeyed(agreementMs: number): void {
    this.#rekeys.observe(agreementMs / 1_000);
  }

  rekeyFailed(code: string): void {
    this.#rekeyFailures.inc({ code });
  }

  gauge({ name, help, labels = [], read }: GaugeOptions): void {
    new Gauge({
      name: `gridring_${name}`,
      help,
      labelNames: [...labels],
      registers: [this.#registry],
      async collect() {
        this.reset();
        const samples = await read().catch(() => []);
        for (const { value, labels: values = {} } of samples) this.set(values, value);
      },
    });
  }

  /** When a certificate ends, Unix seconds; of a host of meters, one for each. */
  certificate(id: string, notAfterS: number): void {
    const isFirst = this.#certificates.size === 0;
    this.#certificates.set(id, notAfterS);
    if (!isFirst) return;
    this.gauge({
      name: 'certificate_not_after_seconds',
      help: 'When the certificate ends, Unix time',
      labels: ['id'],
      read: async () => [...this.#certificates].map(([name, value]) => ({ value, labels: { id: name } })),
    });
  }

  /** Depth, bytes and age of what waits, and how full the disk is; of a host of meters, one for each. */
  outbox(id: string, outbox: OutboxParts, nowS: () => number): void {
    const isFirst = this.#outboxes.size === 0;
    this.#outboxes.set(id, outbox);
    if (!isFirst) return;
    const gauge = (name: string, help: string, valueOf: (outbox: OutboxParts) => Promise<number | null>): void => {
      this.gauge({
        name,
        help,
        labels: ['id'],
        read: async () => {
          const values = await Promise.all(
            [...this.#outboxes].map(async ([name, each]) => ({ id: name, value: await valueOf(each) })),
          );
          return values.flatMap((each) =>
            each.value === null ? [] : [{ value: each.value, labels: { id: each.id } }],
          );
        },
      });
    };
    gauge('outbox_depth', 'Items that wait for the next station', async (o) => (await o.outboxStatus()).depth);
    gauge('outbox_bytes', 'Bytes that wait for the next station', async (o) => (await o.outboxStatus()).bytes);
    gauge('outbox_oldest_age_seconds', 'For how long the oldest item has waited', async (o) => {
      const { oldestS } = await o.outboxStatus();
      return oldestS === null ? 0 : Math.max(0, nowS() - oldestS);
    });
    gauge('outbox_set_aside', 'Items that the next station refuses', async (o) => (await o.setAsideStatus()).count);
    gauge('disk_used_bytes', 'Of the database', async (o) => (await o.diskStatus()).usedBytes);
    gauge('disk_budget_bytes', 'What the database may grow to', async (o) => (await o.diskStatus()).budgetBytes);
  }

  /** Room on the file system of a data folder; of a host of meters, of the first. */
  fileSystem(folder: string): void {
    if (this.#hasFileSystem) return;
    this.#hasFileSystem = true;
    this.gauge({
      name: 'filesystem_bytes',
      help: 'Of the file system of the data folder',
      labels: ['state'],
      read: async () => {
        const { freeBytes, sizeBytes } = await spaceIn(folder);
        return [
          { value: freeBytes, labels: { state: 'free' } },
          { value: sizeBytes, labels: { state: 'all' } },
        ];
      },
    });
  }

  /** In the text format of Prometheus. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }

  get contentType(): string {
    return this.#registry.contentType;
  }
}
