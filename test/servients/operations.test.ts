/** What those who operate a process see of it, and when they may send it work. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { operateOutbox } from '../../servients/operations/outbox.js';
import { Operations } from '../../servients/operations/operations.js';
import { Readiness } from '../../servients/operations/readiness.js';
import { refusalKindOf } from '../../servients/operations/refusal-kinds.js';
import { Refusals } from '../../servients/runtime.js';
import { openMeterStore } from '../../servients/stores/sqlite/meter-store.js';
import { makeNeighbourhood } from '../support/neighbourhood.js';
import { startBackend, type TestBackend } from './rest-server.js';

const log = pino({ level: 'silent' });
const n = makeNeighbourhood(suiteX25519, 2);
let operations: Operations;
let backend: TestBackend;
beforeAll(async () => {
  const listen = { address: '127.0.0.1', port: 0, leaveMs: 0 };
  operations = await Operations.open({ role: 'backend', version: '1.2.3', log, listen });
  const { http } = new Refusals(log, operations.metrics);
  backend = await startBackend(n, { operations, http: { observer: http } });
});
afterAll(async () => {
  await backend.remove();
  await operations.close();
});

interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** The text format of Prometheus, strictly. */
function parseMetrics(text: string): readonly Sample[] {
  return text
    .split('\n')
    .filter((line) => line !== '' && !/^# (?:HELP|TYPE) [a-z0-9_]+ ./.test(line))
    .map((line) => {
      const [, name = '', inner = '', value = ''] = /^([a-z0-9_]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
      if (name === '' || !/^(?:-?[\d.]+(?:e[+-]?\d+)?|[+-]Inf|NaN)$/i.test(value))
        throw new Error(`no sample: ${line}`);
      const labels = [...inner.matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"/g)].map(([, key = '', text = '']) => [
        key,
        text,
      ]);
      return { name, labels: Object.fromEntries(labels) as Record<string, string>, value: Number(value) };
    });
}

const ask = (path: string, of = operations) => fetch(`http://127.0.0.1:${of.port}${path}`);
const scrape = async (of = operations) => parseMetrics(await (await ask('/metrics', of)).text());
const valueOf = (samples: readonly Sample[], name: string, labels: object = {}): number | undefined =>
  samples.find(
    (sample) =>
      sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === String(value)),
  )?.value;

describe('metrics', () => {
  it('tell refusals apart, which look the same to whoever was refused', async () => {
    const list = n.list();
    const bundle = n.bundle(list);
    const altered = Uint8Array.from(bundle);
    const at = Buffer.from(bundle).indexOf(Buffer.from(n.gid));
    altered.set([altered[at]! ^ 1], at);
    const publish = (body: unknown) => backend.call('POST', '/api/v1/memberships', { body });
    const answers = [
      await publish(bundle),
      await publish(altered),
      await publish(Uint8Array.of(1)),
      await publish(n.bundle(n.list({ version: 2 }))),
      await publish(bundle),
      await backend.call('GET', '/api/v1/meters'),
      await backend.call('POST', '/api/v1/epochs', { body: Uint8Array.of(1), as: n.meters[0]! }),
    ];
    expect(answers.map(({ status }) => status)).toEqual([200, 403, 400, 200, 409, 401, 403]);
    const samples = await scrape();
    const kinds = new Map(
      samples
        .filter(({ name }) => name === 'gridring_refusals_total')
        .map(({ labels, value }) => [`${labels['kind']} ${labels['code']} ${labels['binding']}`, value]),
    );
    expect(kinds.get('bad-signature signature-invalid http')).toBe(1);
    expect(kinds.get('membership membership-rollback http')).toBe(1);
    expect(kinds.get('token token-missing http')).toBe(1);
    expect([...kinds.keys()].filter((kind) => kind.startsWith('malformed '))).toHaveLength(1);
    expect(valueOf(samples, 'gridring_http_request_seconds_count', { method: 'POST', status: 200 })).toBe(2);
  });

  it('show certificates, lists, the audit log and the event loop', async () => {
    const samples = await scrape();
    const { id, notAfterS } = n.backend.certificate;
    expect(valueOf(samples, 'gridring_certificate_not_after_seconds', { id })).toBe(notAfterS);
    expect(valueOf(samples, 'gridring_membership_not_after_seconds')).toBe(n.list().notAfterS);
    expect(valueOf(samples, 'gridring_audit_entries', { state: 'written' })).toBeGreaterThan(1);
    expect(valueOf(samples, 'gridring_events_position', { topic: 'lists' })).toBe(2);
    expect(valueOf(samples, 'gridring_build_info', { version: '1.2.3', role: 'backend' })).toBe(1);
    expect(valueOf(samples, 'nodejs_eventloop_lag_seconds')).toBeTypeOf('number');
    expect(valueOf(samples, 'gridring_event_streams')).toBe(0);
  });

  it('show what waits in an outbox, for how long, how long rekeys took, and how full the disk is', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'gridring-operations-'));
    const store = openMeterStore(join(folder, 'meter.db'), { maxBytes: 4_000_000 });
    const own = await Operations.open({
      role: 'meter',
      version: '1',
      log,
      listen: { address: '127.0.0.1', port: 0, leaveMs: 0 },
    });
    try {
      operateOutbox(own, { id: 'meter-01', dataDir: folder }, store);
      const item = { kind: 'reading', message: new Uint8Array(100), sequence: 1 } as const;
      await store.saveSealing(new Uint8Array(9), [item], Math.floor(Date.now() / 1000) - 60);
      own.metrics.rekeyed(400);
      own.metrics.rekeyFailed('quorum-needed');
      const samples = await scrape(own);
      const of = { id: 'meter-01', role: 'meter' };
      expect(valueOf(samples, 'gridring_outbox_depth', of)).toBe(1);
      expect(valueOf(samples, 'gridring_outbox_bytes', of)).toBe(100);
      expect(valueOf(samples, 'gridring_outbox_oldest_age_seconds', of)).toBeGreaterThanOrEqual(60);
      expect(valueOf(samples, 'gridring_disk_budget_bytes', of)).toBeGreaterThan(1_000_000);
      expect(valueOf(samples, 'gridring_filesystem_bytes', { state: 'free' })).toBeGreaterThan(0);
      expect(valueOf(samples, 'gridring_rekey_seconds_bucket', { le: '0.5' })).toBe(1);
      expect(valueOf(samples, 'gridring_rekey_seconds_bucket', { le: '0.25' })).toBe(0);
      expect(valueOf(samples, 'gridring_rekey_failures_total', { code: 'quorum-needed' })).toBe(1);
    } finally {
      await own.close();
      store.close();
      rmSync(folder, { recursive: true });
    }
  });

  it('name no target that somebody sent, only routes', async () => {
    await backend.call('GET', '/api/v1/meters/some-secret-name/readings', { as: n.utility });
    expect(await (await ask('/metrics')).text()).not.toContain('some-secret-name');
  });

  it.each([
    ['signature-invalid', 'bad-signature'],
    ['key-invalid', 'wrong-key'],
    ['reading-key-mismatch', 'wrong-key'],
    ['confirmation-mac', 'wrong-key'],
    ['sequence-conflict', 'replay'],
    ['proof-replayed', 'replay'],
    ['epoch-stale', 'stale-epoch'],
    ['share-equivocation', 'equivocation'],
    ['certificate-expired', 'certificate'],
    ['not-listed', 'membership'],
    ['token-expired', 'token'],
    ['cbor-not-deterministic', 'malformed'],
    ['too-many-requests', 'limit'],
    ['disk-full', 'other'],
  ])('count %s as %s', (code, kind) => {
    expect(refusalKindOf(code)).toBe(kind);
  });
});

describe('a process', () => {
  it('that started is alive and ready, on its own port and on that of its API', async () => {
    for (const answer of [
      await ask('/health/live'),
      await ask('/health/ready'),
      await backend.request('GET', '/health/live'),
      await backend.request('GET', '/health/ready'),
    ]) {
      expect(answer.status).toBe(200);
    }
  });

  it('is not ready before it has started, while it leaves, and when a need is not met; and says which', async () => {
    const readiness = new Readiness();
    const failing = async (): Promise<boolean> => (await readiness.read()).ready;
    expect(await failing()).toBe(false);
    readiness.started();
    expect(await failing()).toBe(true);
    readiness.add('database', async () => {
      throw new Error('password=1234');
    });
    expect(await readiness.read()).toEqual({
      ready: false,
      checks: [
        { name: 'running', ok: true },
        { name: 'database', ok: false, detail: 'internal' },
      ],
    });
    const leaving = new Readiness();
    leaving.started();
    leaving.drain();
    leaving.started();
    expect(await leaving.read()).toMatchObject({ ready: false, checks: [{ detail: 'stopping' }] });
  });

  it('whose port is taken does not start', async () => {
    const listen = { address: '127.0.0.1', port: operations.port, leaveMs: 0 };
    await expect(Operations.open({ role: 'meter', version: '1', log, listen })).rejects.toMatchObject({
      code: 'operations-port',
    });
  });
});
