import { createPrivateKey } from 'node:crypto';
import { decodeJwt, decodeProtectedHeader, SignJWT, UnsecuredJWT, type JWTHeaderParameters } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';
import { suiteP256, suiteX25519 } from '../../crypto/suite-node.js';
import {
  makeTokenSource,
  makeTokenVerifier,
  parseAuthorization,
  tokenLifetimeS,
  verifyToken,
  type TokenHolder,
  type TokenVerifier,
} from '../../servients/bindings/token.js';
import { dayS, makePki, type Pki } from './http-pki.js';

const nowS = 1_790_000_000;
const audience = 'https://backend.example/';

describe.each([
  { suite: suiteX25519, algorithm: 'EdDSA', others: ['ES256', 'Ed25519'] },
  { suite: suiteP256, algorithm: 'ES256', others: ['EdDSA', 'ES384'] },
])('a token of suite $suite.name', ({ suite, algorithm, others }) => {
  let pki: Pki;
  let gateway: TokenHolder;
  let verifier: TokenVerifier;
  let x5c: string[];

  beforeAll(() => {
    pki = makePki(suite, nowS);
    gateway = pki.holder('gateway', 'gw-1');
    verifier = { suite, trustedRoots: [pki.root], audience };
    x5c = chainOf(gateway);
  });

  const chainOf = ({ certificate, intermediates }: TokenHolder): string[] =>
    [certificate, ...intermediates].map(({ der }) => Buffer.from(der).toString('base64'));

  const keyOf = ({ secret, certificate }: TokenHolder) => {
    const [public_, d] = [certificate.verifier.publicKey, secret].map((bytes) => Buffer.from(bytes));
    const text = (from: number, to?: number) => public_?.subarray(from, to).toString('base64url');
    const key =
      suite.id === 1
        ? { kty: 'OKP', crv: 'Ed25519', x: text(0) }
        : { kty: 'EC', crv: 'P-256', x: text(1, 33), y: text(33) };
    return createPrivateKey({ key: { ...key, d: d?.toString('base64url') }, format: 'jwk' });
  };

  const subject = 'urn:gridring:gateway:gw-1';
  const claims = { iss: subject, sub: subject, aud: audience, iat: nowS, exp: nowS + 300, jti: 'j1' };

  /** As an attacker makes one who holds a valid key. */
  const forge = (changes: Record<string, unknown>, header: Partial<JWTHeaderParameters> = {}, signer = gateway) =>
    new SignJWT({ ...claims, ...changes }).setProtectedHeader({ alg: algorithm, x5c, ...header }).sign(keyOf(signer));

  const refusal = async (token: string | Promise<string>, atS = nowS): Promise<string> => {
    const caller = await verifyToken(verifier, await token, atS).catch((error: unknown) => error);
    return (caller as { readonly code?: string }).code ?? 'accepted';
  };

  it('says who the caller is, for which audience and for how long', async () => {
    const token = await makeTokenSource(gateway, audience, () => nowS)();
    expect(decodeProtectedHeader(token)).toEqual({ alg: algorithm, typ: 'JWT', x5c });
    expect(decodeJwt(token)).toEqual({ ...claims, jti: expect.stringMatching(/^[\da-f-]{36}$/) as string });
    const caller = await verifyToken(verifier, token, nowS);
    expect(caller).toMatchObject({ subject, expiresS: nowS + tokenLifetimeS });
    expect(caller.certificate.certHash).toEqual(gateway.certificate.certHash);
    expect(caller.certificate.role).toBe('gateway');
  });

  it('is kept until a minute before it expires, and made anew after that or when the clock was set back', async () => {
    let clockS = nowS;
    const source = makeTokenSource(gateway, audience, () => clockS);
    const first = await source();
    clockS = nowS + tokenLifetimeS - 61;
    expect(await source()).toBe(first);
    clockS++;
    const second = await source();
    expect(decodeJwt(second).exp).toBe(clockS + tokenLifetimeS);
    clockS = nowS - 3_600;
    expect(decodeJwt(await source()).iat).toBe(clockS);
  });

  it('cannot be made with a key that is not the certificate’s', () => {
    const other = pki.holder('gateway', 'gw-2');
    expect(() => makeTokenSource({ ...gateway, secret: other.secret }, audience, () => nowS)).toThrow(
      expect.objectContaining({ code: 'token-key' }),
    );
  });

  it('is refused without a signature or with another algorithm', async () => {
    expect(await refusal(new UnsecuredJWT(claims).encode())).toBe('token-algorithm');
    for (const alg of ['none', 'HS256', ...others]) {
      const [, payload, signature] = (await forge({})).split('.');
      const header = Buffer.from(JSON.stringify({ alg, x5c })).toString('base64url');
      expect(await refusal(`${header}.${payload ?? ''}.${signature ?? ''}`)).toBe('token-algorithm');
    }
  });

  it('is refused when it was signed by the certificate’s public key as an HMAC secret', async () => {
    const header = { alg: 'HS256', x5c };
    const token = await new SignJWT(claims).setProtectedHeader(header).sign(gateway.certificate.verifier.publicKey);
    expect(await refusal(token)).toBe('token-algorithm');
  });

  it('is refused when the signature is another’s, or any part was altered', async () => {
    expect(await refusal(forge({}, {}, pki.holder('gateway', 'gw-2')))).toBe('token-signature');
    const [header, , signature] = (await forge({})).split('.');
    const payload = Buffer.from(JSON.stringify({ ...claims, exp: nowS + 299 })).toString('base64url');
    expect(await refusal(`${header ?? ''}.${payload}.${signature ?? ''}`)).toBe('token-signature');
  });

  it('is refused when its certificate chains to no root of ours, lacks the issuing CA, or is a CA itself', async () => {
    const foreign = makePki(suite, nowS).holder('gateway', 'gw-1');
    expect(await refusal(makeTokenSource(foreign, audience, () => nowS)())).toBe('token-untrusted');
    expect(await refusal(forge({}, { x5c: x5c.slice(0, 1) }))).toBe('token-untrusted');
    expect(await refusal(forge({}, { x5c: x5c.slice(1) }))).toBe('token-untrusted');
    expect(await refusal(forge({}, { x5c: [...x5c, ...chainOf(foreign)] }))).toBe('token-malformed');
  });

  it('is refused when the certificate has expired, whatever the token says', async () => {
    const laterS = nowS + 2 * dayS;
    expect(await refusal(forge({ iat: laterS, exp: laterS + 300 }), laterS)).toBe('token-untrusted');
  });

  it('is refused for another audience: a replay at another service', async () => {
    expect(await refusal(makeTokenSource(gateway, 'https://other.example/', () => nowS)())).toBe('token-audience');
    expect(await refusal(forge({ aud: undefined }))).toBe('token-audience');
  });

  it('is refused once expired, beyond the forgiven clock difference: a replay later', async () => {
    expect(await refusal(forge({}), nowS + 599)).toBe('accepted');
    expect(await refusal(forge({}), nowS + 601)).toBe('token-expired');
  });

  it('is refused when it claims to be somebody else, lives too long, comes from the future or lacks an id', async () => {
    expect(await refusal(forge({ sub: 'urn:gridring:operator:op' }))).toBe('token-claims');
    expect(await refusal(forge({ iss: 'urn:gridring:gateway:gw-2' }))).toBe('token-claims');
    expect(await refusal(forge({ exp: nowS + 86_400 }))).toBe('token-claims');
    expect(await refusal(forge({ iat: nowS + 301, exp: nowS + 302 }))).toBe('token-claims');
    expect(await refusal(forge({ jti: undefined }))).toBe('token-claims');
    expect(await refusal(forge({ exp: undefined }))).toBe('token-claims');
  });

  it('that is no token at all is refused as malformed', async () => {
    const odd = ['', 'a', 'a.b.c', `${'a'.repeat(20_000)}.b.c`];
    for (const token of odd) expect(await refusal(token)).toBe('token-malformed');
    expect(await refusal(forge({}, { x5c: [] }))).toBe('token-malformed');
    expect(await refusal(forge({}, { x5c: ['!'] }))).toBe('token-untrusted');
    expect(await refusal(forge({}, { x5c: ['AAAA'] }))).toBe('token-untrusted');
  });

  it('that was accepted once is remembered, for no other token and no longer than it lives', async () => {
    const verify = makeTokenVerifier(verifier);
    const token = await forge({});
    const caller = await verify(token, nowS);
    expect(await verify(token, nowS + 200)).toBe(caller);
    const altered = token.slice(0, -4) + (token.endsWith('AAAA') ? 'BBBB' : 'AAAA');
    await expect(verify(altered, nowS)).rejects.toMatchObject({ code: 'token-signature' });
    await expect(verify(token, nowS + 601)).rejects.toMatchObject({ code: 'token-expired' });
  });
});

it('a token is read from Authorization and nowhere else', () => {
  expect(parseAuthorization('bearer abc.def.ghi')).toEqual({ scheme: 'bearer', token: 'abc.def.ghi' });
  expect(parseAuthorization('DPoP abc')).toEqual({ scheme: 'dpop', token: 'abc' });
  for (const header of [
    undefined,
    '',
    'Bearer',
    'Basic abc',
    'Bearer a b',
    'Bearer a, Bearer b',
    'DPoP',
    'Bearer DPoP a',
  ]) {
    expect(() => parseAuthorization(header)).toThrow(expect.objectContaining({ code: 'token-missing' }));
  }
});
