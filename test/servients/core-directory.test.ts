/** The CoRE Resource Directory (RFC 9176) against whoever reaches its port. */
import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { limits } from '../../crypto/limits.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { coreDirectoryDefaults } from '../../servients/core-directory/core-directory.js';
import type { CoapMessage } from '../../servients/bindings/coap-message.js';
import { makeNeighbourhood } from '../support/neighbourhood.js';
import { Counters, get, noRateLimit, post, problemOf, RawPeer, rawRequest } from './coap-things.js';
import { lampTd, runNode, type CoreNode } from './core-node.js';
import { startBackend, type TestBackend } from './rest-server.js';

const n = makeNeighbourhood(suiteX25519, 1);
const del = 4;
const counters = new Counters();
const free = { perSecond: 1_000, burst: 1_000, sources: 64 };
const settings = {
  coap: { ...coreDirectoryDefaults.coap, rate: noRateLimit },
  registrations: free,
  lookups: free,
  lookupsOfAll: free,
  registrants: { ...coreDirectoryDefaults.registrants, asking: { perSecond: 0, burst: 12, sources: 64 } },
  settleMs: 10,
};
const start = (open: boolean, openRegistration: boolean, more: Partial<typeof settings> = {}): Promise<TestBackend> =>
  startBackend(n, {
    directory: {
      open,
      coap: { address: '127.0.0.1', port: 0, openRegistration, observer: counters, limits: { ...settings, ...more } },
    },
  });

let backend: TestBackend;
/** Two hosts: whoever has one address has not the other. */
let here: RawPeer;
let elsewhere: RawPeer;
beforeAll(async () => {
  backend = await start(true, true);
  here = await RawPeer.open(backend.coapPort);
  elsewhere = await RawPeer.open(backend.coapPort, '127.0.0.2');
});
afterAll(async () => {
  here.close();
  elsewhere.close();
  await backend.remove();
});
afterEach(() => {
  expect(counters.failures).toEqual([]);
});

let messageId = 0;
async function ask(
  peer: RawPeer,
  code: number,
  path: string,
  { query = '', links, observe }: { readonly query?: string; readonly links?: string; readonly observe?: 0 | 1 } = {},
): Promise<CoapMessage> {
  messageId += 1;
  return peer.ask({
    ...{ code, id: messageId, token: randomBytes(4), path: path.split('/').slice(1) },
    options: [
      ...(observe === undefined ? [] : [[6, observe] as const]),
      ...(links === undefined ? [] : [[12, 40] as const]),
      ...query.split('&').flatMap((part) => (part === '' ? [] : [[15, Buffer.from(part)] as const])),
    ],
    ...(links !== undefined && { payload: Buffer.from(links) }),
  });
}
const locationOf = ({ options }: CoapMessage): string =>
  options.flatMap(([number, value]) => (number === 8 ? [`/${value.toString()}`] : [])).join('');
async function register(peer: RawPeer, query: string, links = '</a>'): Promise<string> {
  const answer = await ask(peer, post, '/rd', { query, links });
  expect([answer.code, answer.payload.toString()]).toEqual(['2.01', '']);
  return locationOf(answer);
}
const lookUp = async (kind: 'ep' | 'res', query: string): Promise<string> =>
  (await ask(here, get, `/rd-lookup/${kind}`, { query })).payload.toString();
const codeOf = async (answer: Promise<CoapMessage>): Promise<readonly unknown[]> => {
  const message = await answer;
  return [message.code, (problemOf(message) as { readonly code?: string }).code];
};
const putThing = (id: string, origin = 'coap://lamp.example'): Promise<unknown> =>
  backend.call('PUT', `/things/${id}`, {
    as: n.gateway,
    body: JSON.parse(lampTd(id, origin)) as unknown,
    headers: { 'content-type': 'application/td+json' },
  });
const statusOf = async (id: string): Promise<number> => (await backend.call('GET', `/things/${id}`)).status;

describe('a registration', () => {
  it('can be renewed, replaced and removed from the address alone that made it', async () => {
    const location = await register(here, 'ep=mine&lt=60');
    for (const refused of [
      ask(elsewhere, post, '/rd', { query: 'ep=mine', links: '</evil>' }),
      ask(elsewhere, post, location, { query: 'base=coap://evil.example' }),
      ask(elsewhere, del, location),
      ask(elsewhere, post, '/.well-known/rd', { query: 'ep=mine' }),
    ]) {
      expect(await codeOf(refused)).toEqual(['4.03', 'refused']);
    }
    expect(await lookUp('res', 'ep=mine')).toContain('/a>');
    expect(counters.codes.slice(-4)).toEqual(Array<string>(4).fill('endpoint-of-another'));
    expect(await register(here, 'ep=mine')).toBe(location);
    expect((await ask(here, del, location)).code).toBe('2.02');
    await register(elsewhere, 'ep=mine');
  });

  it('takes the place where it comes from as its base, until it gives another', async () => {
    const location = await register(here, 'ep=based', '</a>;rt=x,<b>;anchor="/a"');
    const base = `coap://127.0.0.1:${here.port}`;
    expect(await lookUp('res', 'ep=based')).toBe(`<${base}/a>;rt="x",<${base}/b>;anchor="${base}/a"`);
    expect((await ask(here, post, location, { query: 'base=coap://based.example' })).code).toBe('2.04');
    expect((await ask(here, post, location)).code).toBe('2.04');
    expect(await lookUp('ep', 'ep=based')).toContain('base="coap://based.example"');
  });

  it('ends with its lifetime, and with it the Thing that it described; renewing it renews both', async () => {
    const node = await runNode('', { td: lampTd('urn:dev:ops:timed', 'coap://127.0.0.1') });
    const location = await register(here, `ep=timed&lt=100&base=${node.origin}`, '</td>;rt="wot.thing"');
    await vi.waitFor(async () => {
      expect(await statusOf('urn:dev:ops:timed')).toBe(200);
    });
    backend.clockS += 90;
    expect((await ask(here, post, location)).code).toBe('2.04');
    backend.clockS += 90;
    expect(await lookUp('ep', 'ep=timed')).not.toBe('');
    expect(await statusOf('urn:dev:ops:timed')).toBe(200);
    backend.clockS += 10;
    expect(await lookUp('ep', 'ep=timed')).toBe('');
    expect(await statusOf('urn:dev:ops:timed')).toBe(404);
    expect(await codeOf(ask(here, post, location))).toEqual(['4.04', 'endpoint-unknown']);
    await node.close();
  });

  it('cannot take the name of a Thing, nor keep it when the Thing comes', async () => {
    await putThing('urn:dev:ops:first');
    expect(await codeOf(ask(here, post, '/rd', { query: 'ep=urn:dev:ops:first', links: '</a>' }))).toEqual([
      '4.03',
      'refused',
    ]);
    await register(here, 'ep=urn:dev:ops:second', '</evil>');
    expect(await lookUp('res', 'ep=urn:dev:ops:second')).toContain('/evil');
    await putThing('urn:dev:ops:second');
    expect(await lookUp('res', 'ep=urn:dev:ops:second')).not.toContain('/evil');
  });

  it.each([
    ['no name', '', '</a>', '4.00', 'query-malformed'],
    ['an empty name', 'ep=', '</a>', '4.00', 'query-malformed'],
    ['a name of 64 bytes', `ep=${'é'.repeat(32)}`, '</a>', '4.00', 'query-malformed'],
    ['two names', 'ep=a&ep=b', '</a>', '4.00', 'query-malformed'],
    ['a device of this deployment', 'ep=urn:gridring:meter:m-1', '</a>', '4.03', 'refused'],
    ['no lifetime', 'ep=a&lt=0', '</a>', '4.00', 'query-malformed'],
    ['a lifetime beyond 32 bits', 'ep=a&lt=4294967296', '</a>', '4.00', 'query-malformed'],
    ['a lifetime with an exponent', 'ep=a&lt=1e3', '</a>', '4.00', 'query-malformed'],
    ['a base that is no URL', 'ep=a&base=//x', '</a>', '4.00', 'query-malformed'],
    ['a base of a file', 'ep=a&base=file:///etc', '</a>', '4.00', 'query-malformed'],
    ['a base with a zone', 'ep=a&base=coap://[fe80::1%25eth0]', '</a>', '4.00', 'query-malformed'],
    ['a base that would break a link', 'ep=a&base=coap://x/"><', '</a>', '4.00', 'query-malformed'],
    ['an attribute that lookups mean otherwise', 'ep=a&rt=core.rd', '</a>', '4.00', 'query-malformed'],
    [
      'thirty attributes',
      `ep=a${Array.from({ length: 30 }, (_, i) => `&x${i}=1`).join('')}`,
      '</a>',
      '4.13',
      'too-large',
    ],
    ['links that are none', 'ep=a', 'hello', '4.00', 'links-malformed'],
    ['a link to nowhere', 'ep=a', '<http://[>', '4.00', 'links-malformed'],
    ['a bomb of links', 'ep=a', '</>,'.repeat(limits.links) + '</>', '4.13', 'too-large'],
  ])('with %s is refused', async (_what, query, links, code, problem) => {
    expect(await codeOf(ask(here, post, '/rd', { query, links: links.slice(0, 1_100) }))).toEqual([code, problem]);
  });

  it('takes no room from others: one address has so many endpoints and no more', async () => {
    const full = await RawPeer.open(backend.coapPort, '127.0.0.3');
    for (let i = 0; i < limits.endpointsOfAddress; i++) await register(full, `ep=full-${i}`, '');
    expect(await codeOf(ask(full, post, '/rd', { query: 'ep=one-more', links: '' }))).toEqual([
      '4.29',
      'endpoints-full',
    ]);
    await register(full, 'ep=full-0', '</a>');
    await register(elsewhere, 'ep=one-more');
    full.close();
  });

  it('is found by nobody who guesses', async () => {
    for (const path of ['/rd/0', '/rd/..', '/rd/%2e', `/rd/${randomBytes(9).toString('base64url')}`]) {
      for (const code of [post, del, get]) {
        expect(await codeOf(ask(here, code, path))).toEqual(['4.04', 'endpoint-unknown']);
      }
    }
    expect((await ask(here, get, '/rd/a/b')).code).toBe('4.04');
  });
});

describe('what an endpoint points at', () => {
  let node: CoreNode;
  const tds: Record<string, string> = {};
  beforeAll(async () => {
    node = await runNode('</td>;rt="wot.thing";ct=432', tds);
  });
  afterAll(() => node.close());
  const refusedWith = (address: string): Promise<unknown> =>
    vi.waitFor(() => {
      const found = backend.logged.filter((line) => line['address'] === address && 'code' in line).at(-1);
      expect(found).toBeDefined();
      return found?.['code'];
    });

  /** From an address of its own, since each is asked only so often. */
  async function describes(address: string, path: string, td: string): Promise<() => Promise<void>> {
    const peer = await RawPeer.open(backend.coapPort, address);
    const own = await runNode('', { [path]: td }, address);
    await register(peer, `ep=at-${address}&base=${own.origin}`, `</${path}>;rt="wot.thing"`);
    await vi.waitFor(() => {
      expect(own.asked).toContain(path);
    });
    return async () => {
      peer.close();
      await own.close();
    };
  }

  it('is fetched from the host alone that registered it', async () => {
    const victim = await runNode('', { td: lampTd('urn:dev:ops:victim', 'coap://127.0.0.4') }, '127.0.0.4');
    const targets = [`${victim.origin}/td`, `http://127.0.0.4:${victim.port}/td`, `coap://localhost:${victim.port}/td`];
    const links = [...targets.map((href) => `<${href}>;rt="wot.thing"`), '</td>;rt="wot.thing"'].join(',');
    tds['td'] = lampTd('urn:dev:ops:own', node.origin);
    const location = await register(here, `ep=pointing&base=${node.origin}`, links);
    await vi.waitFor(async () => {
      expect(await statusOf('urn:dev:ops:own')).toBe(200);
    });
    await register(here, `ep=based-elsewhere&base=${victim.origin}`, '</td>;rt="wot.thing"');
    expect([victim.asked, await statusOf('urn:dev:ops:victim')]).toEqual([[], 404]);
    await ask(here, del, location);
    expect(await statusOf('urn:dev:ops:own')).toBe(404);
    await victim.close();
  });

  it.each([
    [
      'a Thing that somebody else has registered',
      '127.0.1.1',
      lampTd('urn:dev:ops:kept', 'coap://evil.example'),
      'td-of-another',
    ],
    [
      'a device of this deployment',
      '127.0.1.2',
      lampTd('urn:gridring:meter:m-9', 'coap://evil.example'),
      'name-reserved',
    ],
    ['what is no Thing Description', '127.0.1.3', '{"title":1}', 'td-invalid'],
    ['what is no JSON', '127.0.1.4', '{"title":', 'body-malformed'],
    ['more than a Thing Description may have', '127.0.1.5', `"${'x'.repeat(limits.thingDescription)}"`, 'too-large'],
  ])('does not become %s', async (_what, address, td, code) => {
    await putThing('urn:dev:ops:kept');
    const end = await describes(address, 'td', td);
    expect(await refusedWith(address)).toBe(code);
    expect((await backend.call('GET', '/things/urn:dev:ops:kept')).body).toMatchObject({
      properties: { on: { forms: [{ href: 'coap://lamp.example/on' }] } },
    });
    expect(await statusOf('urn:gridring:meter:m-9')).toBe(404);
    await end();
  });

  it('gives way to who registers the same with a token, and does not come between them later', async () => {
    tds['td'] = lampTd('urn:dev:ops:squatted', node.origin);
    const query = `ep=squatter&base=${node.origin}`;
    const location = await register(here, query, '</td>;rt="wot.thing"');
    await vi.waitFor(async () => {
      expect(await statusOf('urn:dev:ops:squatted')).toBe(200);
    });
    await putThing('urn:dev:ops:squatted', 'coap://rightful.example');
    expect((await ask(here, post, location)).code).toBe('2.04');
    expect((await ask(here, del, location)).code).toBe('2.02');
    expect((await backend.call('GET', '/things/urn:dev:ops:squatted')).body).toMatchObject({
      properties: { on: { forms: [{ href: 'coap://rightful.example/on' }] } },
    });
  });

  it('may be a Thing without an id, which keeps the one that it gets', async () => {
    const ids = async (): Promise<readonly string[]> =>
      ((await backend.call('GET', '/things')).body as readonly { readonly id: string }[])
        .map(({ id }) => id)
        .filter((id) => id.startsWith('urn:uuid:'));
    const end = await describes('127.0.1.6', 'td', lampTd(undefined, 'coap://127.0.1.6'));
    await vi.waitFor(async () => {
      expect(await ids()).toHaveLength(1);
    });
    await end();
  });

  it('is asked of one address only now and then, however often it registers', async () => {
    const flooding = await RawPeer.open(backend.coapPort, '127.0.0.5');
    const victim = await runNode('</a>', {}, '127.0.0.5');
    for (let i = 0; i < 30; i++) {
      const links = '</td>;rt="wot.thing"';
      await ask(flooding, post, '/rd', { query: `ep=flood&base=${victim.origin}`, links });
    }
    await vi.waitFor(() => {
      expect(victim.asked).toHaveLength(settings.registrants.asking.burst);
    });
    await victim.close();
    flooding.close();
  });
});

describe('a simple registration', () => {
  /** A node that is asked at the port from which it registers: by hand, for nothing else sends and serves on one socket. */
  async function answeringLinks(peer: RawPeer, links: string): Promise<CoapMessage> {
    const request = await peer.next();
    const head = Buffer.of(0x60 | request.token.length, 0x45, request.messageId >> 8, request.messageId & 255);
    peer.send(
      Buffer.concat([head, request.token, Buffer.of(0xc1, 40, 0xff), Buffer.from(links)]),
      peer.senders.at(-1)?.port,
    );
    return request;
  }

  it('is answered before the links are fetched, from where it came', async () => {
    const peer = await RawPeer.open(backend.coapPort);
    const answer = await ask(peer, post, '/.well-known/rd', { query: 'ep=simple&lt=600' });
    expect([answer.code, locationOf(answer)]).toEqual(['2.04', '']);
    expect(await lookUp('ep', 'ep=simple')).toBe('');
    const request = await answeringLinks(peer, '</simple>;rt="x"');
    const path = request.options.flatMap(([number, value]) => (number === 11 ? [value.toString()] : []));
    expect([request.code, path]).toEqual(['0.01', ['.well-known', 'core']]);
    await vi.waitFor(async () => {
      expect(await lookUp('res', 'ep=simple')).toBe(`<coap://127.0.0.1:${peer.port}/simple>;rt="x"`);
    });
    peer.close();
  });

  it('is refused at once where it never could be made', async () => {
    expect(await codeOf(ask(here, post, '/.well-known/rd', { query: 'ep=a&base=coap://x' }))).toEqual([
      '4.00',
      'query-malformed',
    ]);
    expect(await codeOf(ask(here, post, '/.well-known/rd', { query: 'lt=60' }))).toEqual(['4.00', 'query-malformed']);
    expect(await codeOf(ask(here, post, '/.well-known/rd', { query: 'ep=a', links: '</a>' }))).toEqual([
      '4.00',
      'body-malformed',
    ]);
  });
});

describe('a lookup', () => {
  it.each(['page=1', 'count=0', 'count=1001', 'count=1&count=2', 'count=-1', 'page=x&count=1', '=', 'a b=1'])(
    'with %s is refused',
    async (query) => {
      expect(await codeOf(ask(here, get, '/rd-lookup/res', { query }))).toEqual(['4.00', 'query-malformed']);
    },
  );

  it('of more than is given at once says so', async () => {
    const peer = await RawPeer.open(backend.coapPort, '127.0.0.6');
    const links = Array.from({ length: 200 }, (_, i) => `</${i}>`).join(',');
    for (let i = 0; i < 6; i++) {
      const [first, second] = [links.slice(0, 1_024), links.slice(1_024)];
      const blocks = [first, second].map(
        (part, num) =>
          [
            [12, 40],
            [15, Buffer.from(`ep=wide-${i}`)],
            [27, num * 16 + (num === 0 ? 8 : 0) + 6],
            Buffer.from(part),
          ] as const,
      );
      for (const [format, query, block, payload] of blocks) {
        messageId += 1;
        await peer.ask({ code: post, id: messageId, path: ['rd'], options: [format, query, block], payload });
      }
    }
    expect(await codeOf(ask(here, get, '/rd-lookup/res', { query: 'ep=wide-*' }))).toEqual(['4.13', 'too-large']);
    expect((await lookUp('res', 'ep=wide-*&count=3&page=2')).split(',')).toHaveLength(3);
    peer.close();
  });

  it('is observed so often by one address, and no more', async () => {
    const peer = await RawPeer.open(backend.coapPort, '127.0.0.7');
    const isObserved = async (i: number, from: RawPeer): Promise<boolean> => {
      const { code, options } = await ask(from, get, '/rd-lookup/ep', { query: `ep=none-${i}`, observe: 0 });
      expect(code).toBe('2.05');
      return options.some(([number]) => number === 6);
    };
    const most = coreDirectoryDefaults.coap.observersOfSource ?? 0;
    const observed = [];
    for (let i = 0; i < most + 2; i++) observed.push(await isObserved(i, peer));
    expect(observed).toEqual([...Array<boolean>(most).fill(true), false, false]);
    expect(await isObserved(0, elsewhere)).toBe(true);
    peer.close();
  });
});

it('answers whatever is asked, and goes on', async () => {
  const part = fc.oneof(
    fc.constantFrom('ep=x', 'ep=', 'd=y', 'lt=1', 'lt=x', 'base=coap://x', 'page=0', 'count=1', 'rt=*', 'href=/rd/*'),
    fc.string({ maxLength: 12 }),
  );
  const links = fc.oneof(
    fc.constant('</a>;rt="x"'),
    fc.string({ maxLength: 20 }),
    fc.stringMatching(/^<[/a-z]{0,4}>(;[a-z"=]{0,5}){0,2}$/),
  );
  const paths = [
    '/rd',
    '/rd/x',
    '/rd-lookup/ep',
    '/rd-lookup/res',
    '/rd-lookup',
    '/.well-known/core',
    '/.well-known/rd',
    '/',
  ];
  const request = fc.record({
    code: fc.constantFrom(get, post, 3, del, 5, 7),
    path: fc.constantFrom(...paths),
    query: fc.array(part, { maxLength: 4 }).map((parts) => parts.join('&')),
    links,
  });
  await fc.assert(
    fc.asyncProperty(request, async ({ code, path, query, links: text }) => {
      const answer = await ask(elsewhere, code, path, { query, ...(text !== '' && { links: text }) });
      expect(answer.code).toMatch(/^[24]\./);
    }),
    { numRuns: 150 },
  );
});

describe('where it is not open', () => {
  it('shows nothing without a token, and takes nobody in; what it has is found over HTTP', async () => {
    const closed = await start(false, false);
    const overHttp = await closed.request('GET', '/.well-known/core?rt=wot.dir*');
    expect([overHttp.headers.get('content-type'), await overHttp.text()]).toEqual([
      'application/link-format',
      '</.well-known/wot>;rt="wot.directory";ct=432',
    ]);
    const peer = await RawPeer.open(closed.coapPort);
    const core = await ask(peer, get, '/.well-known/core');
    expect(core.payload.toString()).toBe('</.well-known/wot>;rt="wot.directory";ct=432');
    expect(await codeOf(ask(peer, get, '/rd-lookup/ep'))).toEqual(['4.01', 'token-missing']);
    expect(await codeOf(ask(peer, get, '/rd-lookup/res', { observe: 0 }))).toEqual(['4.01', 'token-missing']);
    expect(await codeOf(ask(peer, post, '/rd', { query: 'ep=a', links: '</a>' }))).toEqual([
      '4.03',
      'registration-closed',
    ]);
    expect(await codeOf(ask(peer, post, '/.well-known/rd', { query: 'ep=a' }))).toEqual([
      '4.03',
      'registration-closed',
    ]);
    peer.close();
    await closed.remove();
  });

  it('slows down who registers or looks up too often', async () => {
    const slow = { perSecond: 0, burst: 2, sources: 16 };
    const busy = await start(true, true, { registrations: slow, lookups: slow });
    const peer = await RawPeer.open(busy.coapPort);
    const codes = [];
    for (let i = 0; i < 3; i++) codes.push((await ask(peer, post, '/rd', { query: `ep=${i}`, links: '' })).code);
    for (let i = 0; i < 3; i++) codes.push((await ask(peer, get, '/rd-lookup/ep')).code);
    expect(codes).toEqual(['2.01', '2.01', '4.29', '2.05', '2.05', '4.29']);
    peer.close();
    await busy.remove();
  });

  it('does so too for all together, whatever addresses they have', async () => {
    const busy = await start(true, true, { lookupsOfAll: { perSecond: 0, burst: 2, sources: 1 } });
    const [one, other] = [await RawPeer.open(busy.coapPort), await RawPeer.open(busy.coapPort, '127.0.0.2')];
    const codes = [];
    for (const peer of [one, other, one, other]) codes.push((await ask(peer, get, '/rd-lookup/ep')).code);
    expect(codes).toEqual(['2.05', '2.05', '4.29', '4.29']);
    one.close();
    other.close();
    await busy.remove();
  });

  it('keeps who has registered over a restart', async () => {
    const first = await start(true, true);
    const peer = await RawPeer.open(first.coapPort);
    const location = await register(peer, 'ep=kept', '</a>');
    const second = await first.restart();
    peer.send(rawRequest({ id: 7, path: location.split('/').slice(1) }), second.coapPort);
    expect((await peer.next()).payload.toString()).toContain('/a>');
    peer.close();
    await second.remove();
  });
});
