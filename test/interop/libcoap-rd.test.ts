/** libcoap's `coap-client` at the CoRE Resource Directory (RFC 9176), which shares no code with it. */
import { spawn, spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { lampTd, runNode, type CoreNode } from '../servients/core-node.js';
import { startBackend, type TestBackend } from '../servients/rest-server.js';
import { makeNeighbourhood } from '../support/neighbourhood.js';

const binary = ['coap-client-notls', 'coap-client', 'coap-client-gnutls', 'coap-client-openssl'].find(
  (name) => spawnSync(name, ['-h']).error === undefined,
);

describe.skipIf(binary === undefined)('libcoap’s coap-client at the resource directory', () => {
  const n = makeNeighbourhood(suiteX25519, 1);
  let backend: TestBackend;
  let node: CoreNode;

  /** What it prints, its own messages included; with -v 6 also codes and options. */
  const run = (...args: readonly string[]): Promise<string> =>
    new Promise((resolve, reject) => {
      const child = spawn(binary ?? '', ['-B', '10', ...args]);
      let out = '';
      child.stdout.on('data', (text: Buffer) => (out += text.toString()));
      child.stderr.on('data', (text: Buffer) => (out += text.toString()));
      child.on('error', reject);
      child.on('close', () => {
        resolve(out.trim());
      });
    });
  const at = (path: string): string => `coap://127.0.0.1:${backend.coapPort ?? 0}${path}`;
  const post = (path: string, links?: string): Promise<string> =>
    run(
      '-v',
      '6',
      '-m',
      'post',
      ...(links === undefined ? [] : ['-t', '40', '-e', encodeURIComponent(links)]),
      at(path),
    );
  /** The path that a registration was given. */
  const register = async (query: string, links: string): Promise<string> => {
    const answer = await post(`/rd?${query}`, links);
    expect(answer).toMatch(/2\.01/);
    return `/${[...answer.matchAll(/Location-Path:([\w-]+)/g)].map(([, part]) => part).join('/')}`;
  };
  const links = (answer: string): readonly string[] => (answer === '' ? [] : answer.split(/,(?=<)/));

  beforeAll(async () => {
    const coap = {
      ...{ address: '127.0.0.1', port: 0, openRegistration: true },
      limits: { settleMs: 20 },
    };
    backend = await startBackend(n, { directory: { open: true, coap } });
    node = await runNode('</on>;rt="switch";ct=50', {});
  });
  afterAll(async () => {
    await node.close();
    await backend.remove();
  });
  afterEach(async () => {
    for (const line of links(await run(at('/rd-lookup/ep?base=coap:*')))) {
      const path = /<([^>]+)>/.exec(line)?.[1] ?? '';
      await run('-m', 'delete', at(path));
    }
  });

  it('finds the directory, and what of it was asked for', async () => {
    expect(await run(at('/.well-known/core'))).toBe(
      '</.well-known/wot>;rt="wot.directory";ct=432,</rd>;rt="core.rd";ct=40,' +
        '</rd-lookup/ep>;rt="core.rd-lookup-ep";ct=40;obs,</rd-lookup/res>;rt="core.rd-lookup-res";ct=40;obs',
    );
    expect(await run(at('/.well-known/core?rt=core.rd'))).toBe('</rd>;rt="core.rd";ct=40');
    expect(links(await run(at('/.well-known/core?rt=core.rd*')))).toHaveLength(3);
    expect(JSON.parse(await run('-A', '432', at('/.well-known/wot')))).toMatchObject({
      id: 'urn:gridring:backend:backend-1:directory',
    });
  });

  it('registers as in RFC 9176 §5, looks it up, updates it, and removes it', async () => {
    const sensors =
      '</sensors/temp>;rt=temperature-c;if=sensor,<http://www.example.com/sensors/t123>;anchor="/sensors/temp";rel=describedby';
    const path = await register(
      'ep=node1&et=tag:example.com,2020:platform&base=coap://[2001:db8:3::123]:61616',
      sensors,
    );
    const resources = [
      '<coap://[2001:db8:3::123]:61616/sensors/temp>;rt="temperature-c";if="sensor"',
      '<http://www.example.com/sensors/t123>;anchor="coap://[2001:db8:3::123]:61616/sensors/temp";rel="describedby"',
    ];
    expect(links(await run(at('/rd-lookup/res?ep=node1')))).toEqual(resources);
    expect(links(await run(at('/rd-lookup/res?rt=temperature-c')))).toEqual(resources.slice(0, 1));
    expect(links(await run(at('/rd-lookup/res?et=tag:example.com,2020:*&if=sensor')))).toEqual(resources.slice(0, 1));
    expect(links(await run(at('/rd-lookup/res?href=coap://[2001:db8:3::123]:61616/*')))).toEqual(resources.slice(0, 1));
    expect(await run(at(path))).toBe(resources.join(','));
    const endpoint = (base: string, et: string): string =>
      `<${path}>;rt="core.rd-ep";ep="node1";base="${base}";et="${et}"`;
    const first = endpoint('coap://[2001:db8:3::123]:61616', 'tag:example.com,2020:platform');
    expect(await run(at('/rd-lookup/ep?rt=temperature-c'))).toBe(first);
    expect(await run(at(`/rd-lookup/ep?href=${path}`))).toBe(first);
    expect(await run(at('/rd-lookup/ep?rt=light-lux'))).toBe('');
    expect(await post(`${path}?et=lamp&base=coap://node1.example`)).toMatch(/2\.04/);
    expect(await run(at('/rd-lookup/ep?ep=node1'))).toBe(endpoint('coap://node1.example', 'lamp'));
    expect(await run('-v', '6', '-m', 'delete', at(path))).toMatch(/2\.02/);
    expect(await run(at('/rd-lookup/ep?ep=node1'))).toBe('');
    expect(await post(path)).toMatch(/4\.04/);
  });

  it('gets the same location when it registers again, and new links', async () => {
    const first = await register('ep=again&d=cellar', '</a>');
    expect(await register('ep=again&d=cellar', '</b>;obs')).toBe(first);
    expect(await register('ep=again&d=attic', '</a>')).not.toBe(first);
    expect(await run(at('/rd-lookup/res?ep=again&d=cellar'))).toMatch(/^<coap:\/\/127\.0\.0\.1:\d+\/b>;obs$/);
  });

  it('pages through what is there', async () => {
    await register(
      'ep=many&base=coap://many.example',
      Array.from({ length: 7 }, (_, i) => `</r/${i}>;ct=60`).join(','),
    );
    const page = async (query: string): Promise<readonly string[]> =>
      links(await run(at(`/rd-lookup/res?ep=many&${query}`))).map((line) => /r\/\d/.exec(line)?.[0] ?? line);
    expect(await page('page=0&count=5')).toEqual(['r/0', 'r/1', 'r/2', 'r/3', 'r/4']);
    expect(await page('page=1&count=5')).toEqual(['r/5', 'r/6']);
    expect(await page('page=2&count=5')).toEqual([]);
    expect(await run('-v', '6', at('/rd-lookup/res?page=1'))).toMatch(/4\.00/);
  });

  it('sends and gets more links than one datagram holds', async () => {
    const many = Array.from({ length: 150 }, (_, i) => `</resource/number/${i}>;rt="tag:example.com,2020:thing"`).join(
      ',',
    );
    await register('ep=large&base=coap://large.example', many);
    expect(links(await run(at('/rd-lookup/res?ep=large')))).toHaveLength(150);
    expect(links(await run('-b', '64', at('/rd-lookup/res?ep=large')))).toHaveLength(150);
  });

  it('is told by an observed lookup of who comes', async () => {
    const observing = run('-s', '2', at('/rd-lookup/ep?et=lamp'));
    // Until it is told of: that it observes, nobody else can see.
    for (let told = false; !told;) {
      told = await Promise.race([observing.then(() => true), sleep(200).then(() => false)]);
      if (!told) await register('ep=late&et=lamp&base=coap://late.example', '</on>');
    }
    expect(await observing).toMatch(/<\/rd\/[\w-]+>;rt="core\.rd-ep";ep="late"/);
  });

  it('registers simply, and is asked at the port that it came from', async () => {
    const free = await runNode('');
    const { port } = free;
    await free.close();
    const answer = await run('-v', '6', '-p', String(port), '-m', 'post', at('/.well-known/rd?ep=simple&lt=600'));
    expect(answer).toMatch(/2\.04/);
    // Only now is the port free for the node to answer there: the directory asks again when it hears nothing.
    const simple = await runNode('</on>;rt="switch"', {}, '127.0.0.1', port);
    await vi.waitFor(
      async () => {
        expect(await run(at('/rd-lookup/res?ep=simple'))).toBe(`<coap://127.0.0.1:${port}/on>;rt="switch"`);
      },
      { timeout: 10_000, interval: 500 },
    );
    await simple.close();
  });

  it('is asked for its Thing Description, and is a Thing of the WoT directory until it goes', async () => {
    const described = await runNode('</td>;rt="wot.thing";ct=432', { td: lampTd('urn:dev:ops:lamp-1', node.origin) });
    const path = await register(`ep=lamp-1&lt=300&base=${described.origin}`, '</td>;rt="wot.thing";ct=432,</on>');
    const things = '/things/urn:dev:ops:lamp-1';
    await vi.waitFor(async () => {
      expect(await backend.call('GET', things)).toMatchObject({ status: 200, body: { title: 'Lamp' } });
    });
    expect((await backend.call('GET', things)).body).toMatchObject({
      registration: { expires: new Date((backend.clockS + 300) * 1000).toISOString() },
    });
    expect(links(await run(at('/rd-lookup/ep?ep=*')))).toHaveLength(1);
    await run('-m', 'delete', at(path));
    expect((await backend.call('GET', things)).status).toBe(404);
    await described.close();
  });

  it('finds a Thing that was registered over HTTP, by what it offers over CoAP', async () => {
    const id = 'urn:dev:ops:lamp-2';
    const td = JSON.parse(lampTd(id, 'coap://lamp-2.example')) as unknown;
    await backend.call('PUT', `/things/${id}`, {
      as: n.gateway,
      body: td,
      headers: { 'content-type': 'application/td+json' },
    });
    expect(links(await run(at(`/rd-lookup/res?ep=${id}`)))).toEqual([
      `<${backend.url}/things/${encodeURIComponent(id)}>;rt="wot.thing";ct=432;title="Lamp"`,
      '<coap://lamp-2.example/on>;ct=50;title="on";obs',
    ]);
    const [endpoint] = links(await run(at('/rd-lookup/ep?rt=wot.thing')));
    expect(endpoint).toMatch(
      /^<\/rd\/[\w-]{43}>;rt="core\.rd-ep";ep="urn:dev:ops:lamp-2";base="coap:\/\/lamp-2\.example"$/,
    );
    expect(await run('-v', '6', '-m', 'delete', at(/<([^>]+)>/.exec(endpoint ?? '')?.[1] ?? ''))).toMatch(/4\.04/);
    await backend.call('DELETE', `/things/${id}`, { as: n.gateway });
  });
});
