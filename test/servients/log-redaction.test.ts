/** Logs in the hands of somebody who looks for keys in them, or wants them to say something else. */
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toBase64Url, toHex } from '../../crypto/bytes.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { logOptions } from '../../servients/log-redaction.js';
import { Refusals } from '../../servients/runtime.js';
import { makeNeighbourhood } from '../support/neighbourhood.js';
import { activeKey, agree, makePlayers } from '../support/ring.js';
import { TestMeter, uploadOf } from './rest-meters.js';
import { startBackend, tokenFor, type TestBackend } from './rest-server.js';

const lines: string[] = [];
const log = pino(logOptions('debug'), { write: (line: string) => void lines.push(line) });
const logged = (fields: object, message = 'message'): string => {
  lines.splice(0);
  log.warn(fields, message);
  return lines.join('');
};

const n = makeNeighbourhood(suiteX25519, 3);
const { secret } = n.gateway;
const jwt = 'eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl';

describe('a log line', () => {
  it.each([
    ['a field with the name of a secret', { secret: 'hidden' }],
    ['one far inside', { a: { b: [{ clientSecret: 'hidden' }] } }],
    ['headers', { headers: { authorization: 'Bearer hidden', cookie: 'a=hidden', DPoP: 'hidden' } }],
    ['a one-time code', { enrolmentCode: 'hidden', userCode: 'hidden' }],
    ['a token inside a text', { reason: `the token ${jwt} is refused` }],
    ['a password inside a URL', { place: 'postgres://user:hidden@host/name' }],
    ['a query', { url: '/callback?code=hidden&state=1' }],
    ['a key in PEM', { text: '-----BEGIN PRIVATE KEY-----\nhidden\n-----END PRIVATE KEY-----' }],
    ['bytes', { anything: secret, deep: { bytes: Buffer.from(secret) } }],
    ['an error', { err: Object.assign(new Error(`Bearer ${jwt}`), { password: 'hidden', parameters: [secret] }) }],
    ['its cause', { err: new Error('outer', { cause: new Error('password=hidden') }) }],
  ])('has not what is secret of %s', (_what, fields) => {
    const text = logged(fields);
    expect(text).not.toMatch(/hidden/);
    expect(text).not.toContain('c2lnbmF0dXJl');
    for (const form of [toHex(secret), toBase64Url(secret), Buffer.from(secret).toString('base64')]) {
      expect(text).not.toContain(form);
    }
    expect(text).not.toContain(JSON.stringify([...secret]).slice(1, 20));
  });

  it('tells what it is there to tell', () => {
    const line = logged({ code: 'signature-invalid', err: new TypeError('broken'), keyName: '00ff', epoch: 3 });
    expect(JSON.parse(line)).toMatchObject({ code: 'signature-invalid', epoch: 3, keyName: '00ff' });
    expect((JSON.parse(line) as { readonly err: object }).err).toMatchObject({ type: 'TypeError', message: 'broken' });
  });

  it('is one line, whatever a caller wrote', () => {
    expect(logged({ id: 'a\n{"level":60,"msg":"forged"}\r\n' }, 'b\n{"level":60}').trimEnd().split('\n')).toHaveLength(
      1,
    );
  });
});

describe('the log of a backend at its most talkative', () => {
  let backend: TestBackend;
  beforeAll(async () => {
    lines.splice(0);
    backend = await startBackend(n, { log, http: { observer: new Refusals(log).http } });
  });
  afterAll(() => backend.remove());

  it('holds no key and no token, in whatever form', async () => {
    const { players, published } = agree(n, { players: makePlayers(n) });
    const meters = players.map((player, i) => new TestMeter(n, player, { seed: `meter ${i}` }));
    const upload = uploadOf(...meters.map((meter) => meter.measure(2)));
    const tokens: string[] = [];
    for (const [path, body] of [
      ['memberships', n.bundle(n.list())],
      ['epochs', published.record],
      ['readings', upload],
      ['readings', Uint8Array.from(upload, (byte, i) => (i === 200 ? byte ^ 1 : byte))],
    ] as const) {
      const token = await tokenFor(n, n.gateway);
      tokens.push(token);
      await backend.call('POST', `/api/v1/${path}`, { body, token });
    }
    const altered = `${tokens[0]!.slice(0, -4)}AAAA`;
    await backend.call('GET', `/api/v1/meters?token=${altered}`, { token: altered });
    await backend.call('GET', '/api/v1/meters/%0a%7b%22level%22:60%7d/grants', { as: n.utility });
    const text = lines.join('');
    expect(lines.length).toBeGreaterThan(5);
    expect(lines.every((line) => line.endsWith('}\n') && line.trimEnd().split('\n').length === 1)).toBe(true);
    const everybody = [n.authority, n.gateway, n.backend, n.operator, n.utility, n.household, ...n.meters];
    const secrets = [
      ...everybody.map((principal) => principal.secret),
      ...meters.flatMap(({ readingKeys }) => readingKeys),
      ...players.flatMap((player) => Object.values(activeKey(player)).filter((key) => key instanceof Uint8Array)),
    ].filter((bytes) => bytes.length >= 16);
    const forms = secrets.flatMap((bytes) => [
      ...[toHex(bytes), toBase64Url(bytes), Buffer.from(bytes).toString('base64'), toHex(bytes).toUpperCase()],
    ]);
    const signatures = [...tokens, altered].map((token) => token.split('.')[2]!);
    expect(forms.length).toBeGreaterThan(40);
    expect([...forms, ...signatures].filter((form) => text.includes(form))).toEqual([]);
  });
});
