import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  ConflictError,
  LimitError,
  MalformedError,
  NotFoundError,
  UnavailableError,
  VerificationError,
} from '../../crypto/errors.js';
import { optionNumber, uintValue, type CoapMessage } from '../../servients/bindings/coap-message.js';
import { CoapServer } from '../../servients/bindings/coap-server.js';
import {
  get,
  meterInit,
  post,
  problemOf,
  put,
  RawPeer,
  runMeter,
  type RawRequest,
  type RunningMeter,
} from './coap-things.js';

let running: RunningMeter;
let peer: RawPeer;
let id = 0;
const ask = (request: RawRequest): Promise<CoapMessage> => peer.ask({ id: ++id, ...request });
const at = (...path: string[]) => ({ path: ['meter-m-1', ...path] });
const format = ({ options }: CoapMessage) => uintValue(options, optionNumber.contentFormat);
const cose = [12, 18] as const;
const json = [12, 50] as const;

beforeEach(async () => {
  running = await runMeter();
  peer = await RawPeer.open(running.port);
});
afterEach(async () => {
  peer.close();
  await running.servient.shutdown();
});

describe('a Thing over CoAP', () => {
  it('describes itself with one form per media type and kind of operation, relative to its base', () => {
    const td = running.thing.getThingDescription();
    expect(td.base).toBe(`${running.origin}/meter-m-1/`);
    const read = { href: 'properties/keyStatus', contentType: 'application/json', 'cov:method': 'GET' };
    expect(td.properties?.['keyStatus']?.forms).toEqual([
      { ...read, op: 'readproperty' },
      { ...read, op: ['observeproperty', 'unobserveproperty'], subprotocol: 'cov:observe' },
    ]);
    const setting = { href: 'properties/setting', contentType: 'application/json' };
    expect(td.properties?.['setting']?.forms).toEqual([
      { ...setting, op: 'readproperty', 'cov:method': 'GET' },
      { ...setting, op: 'writeproperty', 'cov:method': 'PUT' },
    ]);
    const echo = { href: 'actions/echo', op: 'invokeaction', 'cov:method': 'POST' };
    expect(td.actions?.['echo']?.forms).toEqual([
      { ...echo, contentType: 'application/json' },
      { ...echo, contentType: 'application/cose' },
    ]);
    expect(td.actions?.['add']?.forms).toHaveLength(1);
    const events = ['subscribeevent', 'unsubscribeevent'];
    expect(td.events?.['reading']?.forms).toEqual([
      {
        href: 'events/reading',
        contentType: 'application/json',
        op: events,
        'cov:method': 'GET',
        subprotocol: 'cov:observe',
      },
    ]);
    expect(JSON.stringify(td).length).toBeLessThan(3_000);
  });

  it('gives its TD as td+json, or as plain JSON to who asks for that', async () => {
    const td = await ask({ path: ['meter-m-1'], options: [[23, 0x06]] });
    expect(td).toMatchObject({ type: 'ack', code: '2.05' });
    expect(format(td)).toBe(432);
    expect(format(await ask({ path: ['meter-m-1'], options: [[17, 50]] }))).toBe(50);
    expect(await ask({ path: ['meter-m-1'], options: [[17, 60]] })).toMatchObject({ code: '4.06' });
  });

  it('is found by CoRE link format, and at the well-known address while it is the only one', async () => {
    const links = await ask({ path: ['.well-known', 'core'] });
    expect(links.payload.toString()).toBe('</meter-m-1>;rt="wot.thing";ct=432');
    expect(format(links)).toBe(40);
    expect(await ask({ path: ['.well-known', 'wot'] })).toMatchObject({ code: '2.05' });
    const wot = await running.servient.start();
    const second = await wot.produce({ ...meterInit, id: 'urn:gridring:meter:m-2' });
    await second.expose();
    expect(await ask({ path: ['.well-known', 'wot'] })).toMatchObject({ code: '4.04' });
    expect((await ask({ path: ['.well-known', 'core'] })).payload.toString()).toContain('</meter-m-1-2>');
    await second.destroy();
    expect(await ask({ path: ['.well-known', 'wot'] })).toMatchObject({ code: '2.05' });
    expect(await ask({ path: ['meter-m-1-2'] })).toMatchObject({ code: '4.04' });
  });

  it('takes messages as COSE bytes and as JSON, and answers in the media type of the request', async () => {
    const bytes = await ask({ code: post, ...at('actions', 'echo'), options: [cose], payload: Buffer.of(0xd2, 1) });
    expect(bytes).toMatchObject({ code: '2.04', payload: Buffer.of(0xd2, 1) });
    expect(format(bytes)).toBe(18);
    const text = await ask({
      code: post,
      ...at('actions', 'echo'),
      options: [json],
      payload: Buffer.from('{"message":"0gE"}'),
    });
    expect(text.payload.toString()).toBe('{"message":"0gE"}');
    expect(format(text)).toBe(50);
    expect(running.received).toEqual([Uint8Array.of(0xd2, 1), Uint8Array.of(0xd2, 1)]);
  });

  it('answers an action without output with an empty 2.04', async () => {
    const done = await ask({ code: post, ...at('actions', 'activate'), options: [cose], payload: Buffer.of(1) });
    expect(done).toMatchObject({ code: '2.04', payload: Buffer.alloc(0), options: [] });
    expect(await ask({ code: post, ...at('actions', 'forget') })).toMatchObject({ code: '2.04' });
  });

  it('reads a body without content format as JSON', async () => {
    const added = await ask({ code: post, ...at('actions', 'add'), payload: Buffer.from('{"n":1}') });
    expect(added.payload.toString()).toBe('{"n":2}');
  });

  it('answers a non-confirmable request with a non-confirmable response', async () => {
    const read = await ask({ type: 'non', ...at('properties', 'identity') });
    expect(read).toMatchObject({ type: 'non', code: '2.05', payload: Buffer.from('"m-1"') });
  });

  it('answers a CoAP ping with a Reset', async () => {
    peer.send(Buffer.of(0x40, 0, 0x12, 0x34));
    expect(await peer.nextBytes()).toEqual(Buffer.of(0x70, 0, 0x12, 0x34));
  });

  it('serves IPv6', async () => {
    const over6 = await runMeter({ address: '::1' });
    expect(over6.thing.getThingDescription().base).toBe(`coap://[::1]:${over6.port}/meter-m-1/`);
    await over6.servient.shutdown();
  });

  it('says which port it cannot have', async () => {
    const taken = new CoapServer({ port: running.port, address: '127.0.0.1' });
    await expect(taken.start()).rejects.toMatchObject({ code: 'port-unusable' });
    await expect(taken.expose(running.thing)).rejects.toMatchObject({ code: 'not-listening' });
  });
});

describe('what a behaviour throws becomes a CoAP code and a problem object', () => {
  it.each([
    [new MalformedError('cose-malformed', 'no COSE'), '4.00', 'cose-malformed', ['cose-malformed']],
    [new MalformedError('too-large', 'large'), '4.13', 'too-large', ['too-large']],
    [new VerificationError('signature-invalid', 'wrong'), '4.03', 'refused', ['signature-invalid']],
    [new NotFoundError('group-unknown', 'none'), '4.04', 'group-unknown', ['group-unknown']],
    [new ConflictError('membership-unknown', 'send it'), '4.09', 'membership-unknown', ['membership-unknown']],
    [new LimitError('too-often', 'wait'), '4.29', 'too-often', ['too-often']],
    [new UnavailableError('disk-full', 'full'), '5.03', 'disk-full', ['disk-full']],
    [new Error('a secret path'), '5.00', 'internal', []],
  ])('%s', async (error, code, problemCode, localCodes) => {
    running.echo = () => Promise.reject(error);
    const refused = await ask({ code: post, ...at('actions', 'echo'), options: [cose], payload: Buffer.of(1) });
    expect(refused.code).toBe(code);
    expect(format(refused)).toBe(50);
    expect(problemOf(refused)).toMatchObject({ code: problemCode });
    expect(refused.payload.toString()).not.toContain('secret');
    const { codes, failures } = running.counters;
    expect(codes).toEqual(localCodes);
    expect(failures).toEqual(problemCode === 'internal' ? [error] : []);
  });
});

it('a part that is full says when to come again, by the maximum age of its answer and in the problem', async () => {
  running.echo = () => Promise.reject(new UnavailableError('disk-full', 'full', undefined, 10));
  const refused = await ask({ code: post, ...at('actions', 'echo'), options: [cose], payload: Buffer.of(1) });
  expect(refused.code).toBe('5.03');
  expect(refused.options.find(([number]) => number === 14)?.[1]).toEqual(Buffer.of(10));
  expect(problemOf(refused)).toMatchObject({ code: 'disk-full', retryAfterS: 10 });
});

describe('what CoAP itself refuses', () => {
  it.each<[string, RawRequest, string, string]>([
    ['a resource that is not there', { path: ['nothing'] }, '4.04', 'resource-unknown'],
    ['a name of every object', at('actions', 'constructor'), '4.04', 'resource-unknown'],
    ['the folder of actions', at('actions'), '4.04', 'resource-unknown'],
    ['a path that goes on', at('actions', 'echo', 'x'), '4.04', 'resource-unknown'],
    ['a percent sign that stands for itself', { path: ['%ZZ'] }, '4.04', 'resource-unknown'],
    ['GET of an action', { code: get, ...at('actions', 'echo') }, '4.05', 'method-not-allowed'],
    ['PUT of what cannot be written', { code: put, ...at('properties', 'identity') }, '4.05', 'method-not-allowed'],
    ['FETCH', { code: 5, ...at('properties', 'identity') }, '4.05', 'method-not-allowed'],
    ['a method that nobody knows', { code: 31, ...at('properties', 'identity') }, '4.05', 'method-not-allowed'],
    ['GET of an event without Observe', at('events', 'reading'), '4.00', 'observe-missing'],
    [
      'a content format that is unknown',
      { code: post, ...at('actions', 'echo'), options: [[12, 9999]] },
      '4.15',
      'media-type-unsupported',
    ],
    [
      'COSE where an action takes JSON',
      { code: post, ...at('actions', 'add'), options: [cose] },
      '4.15',
      'media-type-unsupported',
    ],
    [
      'JSON wanted for COSE sent',
      { code: post, ...at('actions', 'echo'), options: [cose, [17, 50]] },
      '4.06',
      'not-acceptable',
    ],
    [
      'a media type that a property has not',
      { ...at('properties', 'identity'), options: [[17, 60]] },
      '4.06',
      'not-acceptable',
    ],
    ['an unknown critical option', { ...at('properties', 'identity'), options: [[9, 1]] }, '4.02', 'option-unknown'],
    ['If-Match, which is critical', { ...at('properties', 'identity'), options: [[1, 1]] }, '4.02', 'option-unknown'],
    ['Accept twice', { ...at('properties', 'identity'), options: [[17, 50], [17, 50]] }, '4.02', 'option-unknown'], // prettier-ignore
    ['a proxy request', { options: [[35, Buffer.from('coap://x/')]] }, '5.05', 'proxying-unsupported'],
    [
      'an integer option of five bytes',
      { ...at('properties', 'identity'), options: [[6, Buffer.alloc(5)]] },
      '4.00',
      'option-malformed',
    ],
    [
      'input that does not match the schema',
      { code: post, ...at('actions', 'add'), payload: Buffer.from('{}') },
      '4.00',
      'schema-mismatch',
    ],
    [
      'input that is no JSON',
      { code: post, ...at('actions', 'add'), payload: Buffer.from('{') },
      '4.00',
      'schema-mismatch',
    ],
    [
      'a message that is not base64url',
      { code: post, ...at('actions', 'echo'), payload: Buffer.from('{"message":"$"}') },
      '4.00',
      'base64url-malformed',
    ],
  ])('%s', async (_what, request, code, problemCode) => {
    const refused = await ask(request);
    expect(refused.code).toBe(code);
    expect(problemOf(refused)).toMatchObject({ code: problemCode });
    expect(running.received).toEqual([]);
    expect(running.counters.failures).toEqual([]);
  });

  it('an unknown elective option is no reason to refuse', async () => {
    const read = await ask({ ...at('properties', 'identity'), options: [[2048, 1], [65_000, Buffer.alloc(300)]] }); // prettier-ignore
    expect(read.code).toBe('2.05');
  });
});
