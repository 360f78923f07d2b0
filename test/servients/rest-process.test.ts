import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { toHex } from '../../crypto/bytes.js';
import { suiteP256, suiteX25519 } from '../../crypto/suite-node.js';
import { makeNeighbourhood, nowS } from '../support/neighbourhood.js';
import { agree } from '../support/ring.js';
import { dataOf, listen } from './event-reader.js';
import { open, until } from './http-raw.js';
import { expectFits, expectProblem, startBackend, tokenFor, type TestBackend } from './rest-server.js';

const n = makeNeighbourhood(suiteX25519, 3);
const founding = agree(n);
const second = agree(n, { players: founding.players, epoch: 2, reason: 'periodic' });
const records = [founding, second].map(({ published }) => published.record);

let backend: TestBackend | undefined;
afterEach(async () => {
  await backend?.remove();
  backend = undefined;
});

async function start(): Promise<TestBackend> {
  backend = await startBackend(n);
  await backend.call('POST', '/api/v1/memberships', { body: n.bundle(n.list()) });
  return backend;
}

const record = (running: TestBackend, i: number) =>
  running.call('POST', '/api/v1/epochs', { body: records[i]!, as: n.gateway });

describe('a backend', () => {
  it('that cannot have its port says which, and what to do; the data folder is free again', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    const folder = mkdtempSync(join(tmpdir(), 'gridring-backend-'));
    const refusal = expect.objectContaining({
      code: 'port-in-use',
      message: expect.stringMatching(new RegExp(`port ${String(port)} .*--port`)) as string,
    }) as object;
    await expect(startBackend(n, { listen: { address: '127.0.0.1', port } }, folder)).rejects.toEqual(refusal);
    other.close();
    backend = await startBackend(n, {}, folder);
    expect((await backend.call('GET', '/health')).status).toBe(200);
  });

  it('keeps a second process out of its data folder', async () => {
    const running = await start();
    await expect(startBackend(n, {}, running.folder)).rejects.toMatchObject({ code: 'data-locked' });
  });

  it('that is told to stop finishes what is under way, and takes nothing new', async () => {
    const running = await start();
    const socket = await open(running.port);
    const body = Buffer.from(n.bundle(n.list({ version: 2 })));
    const head = `POST /api/v1/memberships HTTP/1.1\r\nHost: a\r\nContent-Type: application/cose\r\nContent-Length: ${body.length}\r\n\r\n`;
    socket.write(Buffer.concat([Buffer.from(head), body.subarray(0, 100)]));
    await running.call('GET', '/health');
    const closed = running.close();
    await vi.waitFor(async () => {
      await expect(open(running.port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    });
    socket.write(body.subarray(100));
    const answer = await until(socket, '"listVersion":2');
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(answer).toMatch(/\r\nconnection: close\r\n/i);
    await closed;
  });

  it('refuses a data folder of another suite', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'gridring-backend-'));
    const running = await startBackend(n, {}, folder);
    await running.close();
    await expect(startBackend(makeNeighbourhood(suiteP256, 2), {}, folder)).rejects.toMatchObject({
      code: 'data-suite',
    });
    rmSync(folder, { recursive: true });
  });

  it('knows after a restart what it has acknowledged before', async () => {
    const running = await start();
    await record(running, 0);
    backend = await running.restart();
    const { body } = await backend.call('GET', '/api/v1/groups', { as: n.operator });
    expect(body).toMatchObject({ groups: [{ gid: toHex(n.gid), listVersion: 1, epoch: 1 }] });
    expect((await record(backend, 1)).status).toBe(200);
  });

  it('tells everybody how it is and who it is, and without a token nothing else of itself', async () => {
    const running = await start();
    const health = await running.call('GET', '/health');
    expectFits('health', health.body);
    expect(health.body).toMatchObject({ status: 'ok', version: '0.0.0-test' });
    const identity = await running.call('GET', '/api/v1/identity');
    expect(identity.body).toMatchObject({
      id: 'urn:gridring:backend:backend-1',
      role: 'backend',
      certHash: toHex(n.backend.certHash),
      suite: 1,
    });
    for (const resource of ['groups', 'policies', `groups/${toHex(n.gid)}/epochs`, 'meters', 'events']) {
      expectProblem(await running.call('GET', `/api/v1/${resource}`), 401, 'token-missing');
    }
    expectProblem(await running.call('GET', '/api/v1/nothing'), 404, 'no-such-resource');
    expectProblem(await running.call('GET', '/health?verbose=1'), 400, 'input-invalid');
    const wrongMethod = await running.call('DELETE', '/api/v1/groups', { as: n.gateway });
    expectProblem(wrongMethod, 405, 'method-not-allowed');
    expect(wrongMethod.headers.get('allow')).toBe('GET, HEAD');
    expect((await running.call('HEAD', '/api/v1/groups', { as: n.gateway })).status).toBe(200);
  });
});

describe('the event stream', () => {
  it('tells every certified listener of an epoch that was recorded, once', async () => {
    const running = await start();
    const events = await listen(running, n.meters[0]!);
    expect(events.response.headers.get('content-type')).toBe('text/event-stream');
    await record(running, 0);
    await record(running, 0);
    await record(running, 1);
    const told = dataOf(await events.until('"epoch":2'));
    expect(told).toMatchObject([{ epoch: 1 }, { epoch: 2, reason: 'periodic' }]);
    expectFits('epoch-recorded', told[0]);
  });

  it('tells who listens for lists of every newer one, once', async () => {
    const running = await start();
    const events = await listen(running, n.meters[0]!, {}, 'events/memberships');
    const publish = (version: number): Promise<unknown> =>
      running.call('POST', '/api/v1/memberships', { body: n.bundle(n.list({ version })) });
    for (const version of [1, 2, 2, 3]) await publish(version);
    const told = dataOf(await events.until('"listVersion":3'));
    expect(told).toMatchObject([{ listVersion: 2 }, { listVersion: 3 }]);
    expectFits('membership-published', told[0]);
  });

  it('gives a listener that comes back what it has missed', async () => {
    const running = await start();
    const first = await listen(running, n.meters[0]!);
    await record(running, 0);
    const id = /^id: (\S+)\ndata/m.exec(await first.until('"epoch":1'))![1]!;
    await record(running, 1);
    const again = await listen(running, n.meters[0]!, { 'last-event-id': id });
    expect(dataOf(await again.until('"epoch":2'))).toMatchObject([{ epoch: 2 }]);
  });

  it('ends with the token that opened it', async () => {
    const running = await start();
    running.clockS = nowS + 299;
    const token = await tokenFor(n, n.utility, { timeS: nowS });
    const response = await running.request('GET', '/api/v1/events', { token });
    expect(response.status).toBe(200);
    expect(await response.text()).toContain('retry:');
  });

  it('is not given to who takes no event stream', async () => {
    const running = await start();
    const answer = await running.call('GET', '/api/v1/events', { as: n.utility, headers: { accept: 'text/html' } });
    expectProblem(answer, 406, 'not-acceptable');
    const head = await running.call('HEAD', '/api/v1/events', { as: n.utility });
    expect([head.status, head.headers.get('content-type')]).toEqual([200, 'text/event-stream']);
  });

  it('ends when the backend stops, and stops nothing itself', async () => {
    const running = await start();
    const events = await listen(running, n.meters[0]!);
    await record(running, 0);
    const rest = events.rest();
    await running.close();
    expect(dataOf(await rest)).toMatchObject([{ epoch: 1 }]);
    await expect(running.call('GET', '/health')).rejects.toThrow();
  });
});
