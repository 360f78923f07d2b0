/** Announcements by DNS-SD over multicast DNS (WoT Discovery §6.2), heard by somebody else's program. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import makeMdns, { type ResponsePacket } from 'multicast-dns';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { BackendConfig, GatewayConfig, MeterHostConfig } from '../../servients/config.js';
import { announcementsOf } from '../../servients/discovery/announcements.js';
import { announce } from '../../servients/discovery/mdns.js';

const silent = pino({ level: 'silent' });
/** So that tests of others on this network do not matter. */
const id = `t${randomBytes(5).toString('hex')}`;

const gateway = (address: string, ports = { coapPort: 5683, httpPort: 8080 }): GatewayConfig =>
  ({ id, listen: { address, ...ports } }) as GatewayConfig;
const meters = (listen: readonly object[], callable = true): MeterHostConfig =>
  ({ meters: listen.map((each) => ({ id, callable, listen: each })) }) as unknown as MeterHostConfig;
const backend = (listen: object, directory: object = {}): BackendConfig =>
  ({ id, listen, directory }) as unknown as BackendConfig;

describe('what is announced', () => {
  it('is each way to a Thing, or to a directory', () => {
    expect(announcementsOf('gateway', gateway('192.0.2.1'))).toEqual([
      {
        ...{ name: `gridring gateway ${id}`, hostname: `gridring-gateway-${id}-http`, type: 'Thing' },
        ...{ scheme: 'http', address: '192.0.2.1', port: 8080 },
      },
      {
        ...{ name: `gridring gateway ${id}`, hostname: `gridring-gateway-${id}-coap`, type: 'Thing' },
        ...{ scheme: 'coap', address: '192.0.2.1', port: 5683 },
      },
    ]);
    const served = backend({ address: '::', port: 8081, tls: {} }, { coap: { address: '::', port: 5683 } });
    expect(announcementsOf('backend', served)).toMatchObject([
      { type: 'Directory', scheme: 'https', port: 8081 },
      { type: 'Directory', scheme: 'coap', port: 5683 },
    ]);
    expect(announcementsOf('meter', meters([{ scheme: 'coap', address: '0.0.0.0', port: 8480 }]))).toMatchObject([
      { type: 'Thing', scheme: 'coap', address: '0.0.0.0', port: 8480 },
    ]);
  });

  it('has names that fit the DNS, however long an id is', () => {
    const long = { ...gateway('192.0.2.1'), id: 'x'.repeat(64) };
    for (const { name, hostname } of announcementsOf('gateway', long)) {
      expect([name.length, hostname.length]).toEqual([63, 63]);
      expect(hostname).toMatch(/-(?:http|coap)$/);
    }
  });

  it('is nothing that only this machine reaches, that cannot be called, or that has no port of its own', () => {
    for (const address of ['127.0.0.1', '127.1.2.3', '::1']) {
      expect(announcementsOf('gateway', gateway(address))).toEqual([]);
    }
    expect(announcementsOf('gateway', gateway('192.0.2.1', { coapPort: 0, httpPort: 0 }))).toEqual([]);
    expect(announcementsOf('meter', meters([{ scheme: 'coap', address: '0.0.0.0', port: 1 }], false))).toEqual([]);
  });
});

describe('a neighbour', () => {
  let eye: ReturnType<typeof makeMdns>;
  const heard: ResponsePacket[] = [];
  beforeEach(() => {
    // The responder speaks on all interfaces, that of the machine itself among them.
    eye = makeMdns({ interface: '127.0.0.1', bind: '0.0.0.0' });
    eye.on('response', (packet) => heard.push(packet));
  });
  afterEach(() => {
    eye.destroy();
    heard.length = 0;
  });
  const records = () => heard.flatMap(({ answers, additionals }) => [...answers, ...additionals]);
  type Heard = ReturnType<typeof records>[number];
  /** Waits until somebody says so. */
  const hear = async (name: string, isMeant: (record: Heard) => boolean): Promise<Heard> => {
    for (;;) {
      const found = records().find((record) => record.name.endsWith(name) && isMeant(record));
      if (found) return found;
      await once(eye, 'response');
    }
  };
  const isOurs = (record: Heard): boolean => 'data' in record && JSON.stringify(record.data).includes(id);

  it('finds a directory and its ways, and hears when they go', async () => {
    const config = backend({ address: '0.0.0.0', port: 8081 }, { coap: { address: '0.0.0.0', port: 5683 } });
    const leave = await announce(announcementsOf('backend', config), silent);
    const instance = `gridring backend ${id}`;
    expect(await hear('_wot._tcp.local', isOurs)).toMatchObject({ type: 'PTR', data: `${instance}._wot._tcp.local` });
    expect(await hear(`${instance}._wot._udp.local`, ({ type }) => type === 'SRV')).toMatchObject({
      data: { port: 5683, target: `gridring-backend-${id}-coap.local` },
    });
    const text = await hear(`${instance}._wot._tcp.local`, ({ type }) => type === 'TXT');
    expect(String((text as { readonly data: unknown }).data)).toBe('td=/.well-known/wot,type=Directory,scheme=http');
    heard.length = 0;
    eye.query('_directory._sub._wot._tcp.local', 'PTR');
    expect(await hear('_directory._sub._wot._tcp.local', isOurs)).toMatchObject({ type: 'PTR' });
    expect(await hear(`gridring-backend-${id}-http.local`, ({ type }) => type === 'A')).toBeDefined();
    heard.length = 0;
    await leave();
    expect(
      await hear('_wot._tcp.local', (record) => isOurs(record) && 'ttl' in record && record.ttl === 0),
    ).toBeDefined();
    expect(
      await hear('_wot._udp.local', (record) => isOurs(record) && 'ttl' in record && record.ttl === 0),
    ).toBeDefined();
  });

  it('hears nothing of what listens on loopback alone', async () => {
    const leave = await announce(announcementsOf('gateway', gateway('127.0.0.1')), silent);
    await leave();
    expect(records().filter(isOurs)).toEqual([]);
  });
});
