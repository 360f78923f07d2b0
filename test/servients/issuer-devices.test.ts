/** Devices at the embedded issuer: known by their certificates, with openid-client as the client that is not ours. */
import { createLocalJWKSet, decodeJwt, jwtVerify, SignJWT, type JWTPayload } from 'jose';
import * as oidc from 'openid-client';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { suiteP256, suiteX25519 } from '../../crypto/suite-node.js';
import { jwk, privateKey } from '../../servients/bindings/token.js';
import { makeNeighbourhood, nowS, type Principal } from '../support/neighbourhood.js';
import { audience, issuingOf, startBackend, type TestBackend } from './rest-server.js';

describe.each([suiteX25519, suiteP256])('a device at the issuer, suite $name', (suite) => {
  const n = makeNeighbourhood(suite, 3);
  let backend: TestBackend;
  let issuer: string;
  beforeAll(async () => {
    // oidc-provider and openid-client have no other clock, and the certificates are valid then.
    vi.useFakeTimers({ toFake: ['Date'], now: nowS * 1000 });
    backend = await startBackend(n, { embeddedIssuer: true });
    issuer = `${backend.url}/oidc`;
  });
  afterAll(async () => {
    await backend.remove();
    vi.useRealTimers();
  });

  const x5cOf = ({ certificate }: Principal) =>
    [certificate, issuingOf(n)].map(({ der }) => Buffer.from(der).toString('base64'));
  const keyOf = async ({ secret, certificate }: Principal) => {
    const algorithm = suite.id === 1 ? { name: 'Ed25519' } : { name: 'ECDSA', namedCurve: 'P-256' };
    const key = { ...jwk(suite, certificate.verifier.publicKey), d: Buffer.from(secret).toString('base64url') };
    return crypto.subtle.importKey('jwk', key, algorithm, false, ['sign']);
  };
  const discover = async (as: Principal, x5c = x5cOf(as)) =>
    oidc.discovery(
      new URL(issuer),
      `urn:gridring:${as.certificate.role}:${as.certificate.id}`,
      undefined,
      oidc.PrivateKeyJwt(await keyOf(as), {
        [oidc.modifyAssertion]: (header) => {
          Object.assign(header, { x5c });
        },
      }),
      // eslint-disable-next-line @typescript-eslint/no-deprecated -- loopback
      { execute: [oidc.allowInsecureRequests] },
    );
  const grant = async (config: oidc.Configuration, parameters: Record<string, string> = {}) => {
    const DPoP = oidc.getDPoPHandle(config, await oidc.randomDPoPKeyPair('ES256'));
    return oidc.clientCredentialsGrant(config, parameters, { DPoP });
  };
  const refusal = (tokens: Promise<unknown>): Promise<unknown> =>
    tokens.then(
      () => 'granted',
      (error: unknown) => (error as { readonly error?: string }).error ?? (error as Error).message,
    );

  it('gets a token for the API, bound to its key, before any list names it', async () => {
    const config = await discover(n.gateway);
    const { access_token: token, token_type: type, expires_in: life } = await grant(config, { scope: 'gateway' });
    expect([type, life]).toEqual(['dpop', 300]);
    const { body: audited } = await backend.call('GET', '/api/v1/audit?last=1', { as: n.operator });
    const actor = 'urn:gridring:gateway:gw-1';
    expect(audited).toMatchObject({ entries: [{ actor, action: 'token.issue', subject: actor }] });
    const keys = createLocalJWKSet((await (await fetch(`${issuer}/jwks`)).json()) as never);
    const { payload, protectedHeader } = await jwtVerify(token, keys, { issuer, audience, typ: 'at+jwt' });
    expect(protectedHeader.alg).toBe('ES256');
    expect(payload).toMatchObject({
      sub: 'urn:gridring:gateway:gw-1',
      scope: 'gateway',
      certificates: x5cOf(n.gateway),
      cnf: { jkt: expect.any(String) as string },
    });
  });

  it('gets none under a name that its certificate does not have, nor with the certificate of another', async () => {
    const meter = n.meters[0]!;
    expect(await refusal(grant(await discover(n.gateway, x5cOf(meter))))).toBe('invalid_client');
    expect(await refusal(grant(await discover(meter)))).toBe('invalid_client');
  });

  it('gets none without a proof of its key, nor with an assertion that was used before', async () => {
    const config = await discover(n.gateway);
    expect(await refusal(oidc.clientCredentialsGrant(config))).toBe('invalid_grant');
    const assertion = await assertionOf(n.gateway, { aud: issuer });
    const statuses = await Promise.all([1, 2, 3].map(() => ask(assertion)));
    expect(statuses.filter(({ status }) => status === 200)).toHaveLength(1);
    expect((await ask(assertion)).status).toBe(401);
  });

  it('gets none for an assertion to another audience, or one that has expired', async () => {
    expect((await ask(await assertionOf(n.gateway, { aud: 'https://other.example/oidc' }))).status).toBe(401);
    expect((await ask(await assertionOf(n.gateway, { aud: issuer, exp: nowS - 600 }))).status).toBe(401);
  });

  it('gets none any more when a list has removed it', async () => {
    const config = await discover(n.gateway);
    await backend.call('POST', '/api/v1/memberships', { body: n.bundle(n.list()) });
    expect(await refusal(grant(config))).toBe('granted');
    const successor = n.certify('gateway', 'gw-2');
    const without = n.bundle(n.listUnder(successor, 2), [successor]);
    await backend.call('POST', '/api/v1/memberships', { body: without });
    expect(await refusal(grant(config))).toBe('invalid_client');
  });

  it('is told addresses of the issuer, whatever host it says it asks', async () => {
    const response = await fetch(`${issuer}/.well-known/openid-configuration`, {
      headers: { 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'https' },
    });
    const metadata = (await response.json()) as Record<string, string>;
    expect(metadata['token_endpoint']).toBe(`${issuer}/token`);
    expect(JSON.stringify(metadata)).not.toContain('evil');
  });

  const assertionOf = (as: Principal, claims: JWTPayload): Promise<string> => {
    const subject = `urn:gridring:${as.certificate.role}:${as.certificate.id}`;
    const { secret, certificate } = as;
    return new SignJWT({ iss: subject, sub: subject, jti: crypto.randomUUID(), iat: nowS, exp: nowS + 60, ...claims })
      .setProtectedHeader({ alg: suite.id === 1 ? 'EdDSA' : 'ES256', x5c: x5cOf(as) })
      .sign(privateKey({ suite, secret, certificate, intermediates: [] }));
  };
  const ask = async (assertion: string): Promise<Response> => {
    const { privateKey: key, publicKey } = await oidc.randomDPoPKeyPair('ES256');
    const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', publicKey);
    const proof = await new SignJWT({ htm: 'POST', htu: `${issuer}/token`, jti: crypto.randomUUID() })
      .setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk: { kty, crv, x, y } })
      .setIssuedAt()
      .sign(key);
    return fetch(`${issuer}/token`, {
      method: 'POST',
      headers: { dpop: proof },
      body: new URLSearchParams({
        grant_type: 'client_credentials',
        client_id: String(decodeJwt(assertion).sub),
        client_assertion: assertion,
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      }),
    });
  };
});
