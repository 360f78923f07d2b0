/** HTTPS of the backend under the deployment's own CA, with the certificates that callers show. */
import { createHash, randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toHex } from '../../crypto/bytes.js';
import { parseCertificate } from '../../crypto/certificate.js';
import { toPem } from '../../crypto/certificate/pem.js';
import { suiteP256, suiteX25519 } from '../../crypto/suite-node.js';
import { makeFetch } from '../../servients/bindings/tls-fetch.js';
import { initCa, issue, type IssueRequest } from '../../servients/ca.js';
import { privateKeyToPem } from '../../servients/identity-files.js';
import { systemNowS } from '../../servients/runtime.js';
import { startIssuer, type Issuer } from '../support/issuer.js';
import { makeNeighbourhood, nowS, type Principal } from '../support/neighbourhood.js';
import { audience, issuingOf, startBackend, tokenFor, type TestBackend } from './rest-server.js';
import { makeTemporaryFolder, removeFolder } from './stores/sqlite-places.js';

interface Init extends RequestInit {
  readonly headers?: Record<string, string>;
}

describe.each([suiteX25519, suiteP256])('a backend with TLS, suite $name', (suite) => {
  const n = makeNeighbourhood(suite, 3);
  const folder = makeTemporaryFolder();
  const ca = initCa(suite, folder, { name: 'Server', nowS: systemNowS(), random: randomBytes });
  const server = (servedAs: IssueRequest['servedAs']) => {
    const request = { role: 'backend', id: 'b', nowS: systemNowS(), days: 1, random: randomBytes } as const;
    const { chain, secret, signer } = issue(ca, { ...request, ...(servedAs && { servedAs }) });
    return { certificate: chain.map(toPem).join(''), key: privateKeyToPem(suite, secret, signer.publicKey) };
  };
  const listen = { address: '127.0.0.1', port: 0 };
  let backend: TestBackend;
  let issuer: Issuer;
  beforeAll(async () => {
    const tls = server({ dnsNames: ['backend.example'], ipAddresses: ['127.0.0.1', '::1'] });
    issuer = await startIssuer(audience, () => nowS);
    backend = await startBackend(n, { listen: { ...listen, tls }, issuers: [{ issuer: issuer.url }] });
    await as()('/api/v1/memberships', { method: 'POST', body: asBody(n.bundle(n.list())), headers: cose });
  });
  afterAll(async () => {
    await backend.remove();
    await issuer.close();
    rmSync(folder, { recursive: true });
  });

  const cose = { 'content-type': 'application/cose' };
  const asBody = (bytes: Uint8Array): Buffer => Buffer.from(bytes);
  const identityOf = ({ secret, certificate }: Principal) => ({
    suite,
    secret,
    certificates: [certificate.der, issuingOf(n).der],
  });
  /** Shows one certificate in the handshake, and another's token. */
  const as = (shown?: Principal, caller?: Principal) => {
    const send = makeFetch({ roots: [ca.root.der], ...(shown && { identity: identityOf(shown) }) });
    return async (path: string, init: Init = {}): Promise<Response> => {
      const authorization = caller && { authorization: `Bearer ${await tokenFor(n, caller)}` };
      return send(backend.url + path, { ...init, headers: { ...init.headers, ...authorization } });
    };
  };
  const gatewayRoute = (send: ReturnType<typeof as>): Promise<Response> =>
    send('/api/v1/readings', { method: 'POST', body: asBody(randomBytes(8)), headers: cose });

  it('names itself by https, and answers whoever trusts its root', async () => {
    expect(backend.url).toMatch(/^https:/);
    const response = await as()('/health');
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({ status: 'ok' });
  });

  it('is not talked to by whoever trusts another root, or under a name that it is not certified for', async () => {
    await expect(makeFetch({ roots: [n.root.der] })(`${backend.url}/health`)).rejects.toThrow();
    await expect(fetch(`${backend.url}/health`)).rejects.toThrow();
    const unnamed = await startBackend(n, { listen: { ...listen, tls: server(undefined) } });
    await expect(makeFetch({ roots: [ca.root.der] })(`${unnamed.url}/health`)).rejects.toMatchObject({
      code: 'ERR_TLS_CERT_ALTNAME_INVALID',
    });
    await unnamed.remove();
  });

  it('lets a gateway in with its own certificate in the handshake, and not with none or that of another', async () => {
    const [mine, none, others] = [as(n.gateway, n.gateway), as(undefined, n.gateway), as(n.operator, n.gateway)];
    // What it brings is no message; it got so far.
    expect((await gatewayRoute(mine)).status).toBe(400);
    for (const refused of [none, others]) {
      const response = await gatewayRoute(refused);
      expect(response.status).toBe(401);
      expect(await response.json()).toMatchObject({ code: 'token-invalid' });
    }
    expect((await as(undefined, n.utility)('/api/v1/meters')).status).toBe(200);
    expect((await as(n.operator, n.utility)('/api/v1/meters')).status).toBe(401);
  });

  it('lets a person in with the certificate that the account has enrolled, with none, and not with that of another', async () => {
    const body = { issuer: issuer.url, subject: 'anna', name: 'Anna', roles: ['VIEWER'] };
    const json = { 'content-type': 'application/json' };
    const manage = as(n.authority, n.authority);
    const made = await manage('/api/v1/users', { method: 'POST', headers: json, body: JSON.stringify(body) });
    const { id } = (await made.json()) as { readonly id: string };
    const certificate = JSON.stringify({ certHash: toHex(n.utility.certHash) });
    await manage(`/api/v1/users/${id}/certificates`, { method: 'POST', headers: json, body: certificate });
    const authorization = `Bearer ${await issuer.token({ sub: 'anna' })}`;
    const statusWith = async (shown?: Principal): Promise<number> =>
      (await as(shown)('/api/v1/groups', { headers: { authorization } })).status;
    expect([await statusWith(n.utility), await statusWith(), await statusWith(n.operator)]).toEqual([200, 200, 401]);
    const thumbprint = createHash('sha256').update(n.utility.certificate.der).digest('base64url');
    const pinned = `Bearer ${await issuer.token({ sub: 'anna', cnf: { 'x5t#S256': thumbprint } })}`;
    const pinnedWith = async (shown?: Principal): Promise<number> =>
      (await as(shown)('/api/v1/groups', { headers: { authorization: pinned } })).status;
    expect([await pinnedWith(n.utility), await pinnedWith(), await pinnedWith(n.operator)]).toEqual([200, 401, 401]);
  });

  it('takes no self-made certificate in the place of the one that the token shows', async () => {
    const foreign = makeNeighbourhood(suite, 2, 'foreign').gateway;
    expect((await gatewayRoute(as(foreign, n.gateway))).status).toBe(401);
  });

  it('speaks no plain HTTP on that port', async () => {
    await expect(fetch(`http://127.0.0.1:${String(backend.port)}/health`)).rejects.toThrow();
  });
});

describe('plain HTTP', () => {
  const n = makeNeighbourhood(suiteX25519, 2);
  it('is refused on an address that others reach, unless somebody insists; then only bound tokens count', async () => {
    const listen = { address: '0.0.0.0', port: 0 };
    const dataDir = makeTemporaryFolder();
    await expect(startBackend(n, { listen, dataDir })).rejects.toMatchObject({
      code: 'plain-http',
      message: expect.stringContaining('--dangerously-serve-plain-http') as string,
    });
    removeFolder(dataDir);
    const issuer = await startIssuer(audience, () => nowS);
    const issuers = [{ issuer: issuer.url, rolesClaim: 'roles' }];
    const insisted = await startBackend(n, { issuers, listen: { ...listen, dangerouslyServePlainHttp: true } });
    const url = `http://127.0.0.1:${String(insisted.port)}/api/v1/groups`;
    for (const token of [await tokenFor(n, n.utility), await issuer.token({ sub: 'a', roles: ['VIEWER'] })]) {
      const response = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
      expect(await response.json()).toMatchObject({ status: 401, code: 'token-unbound' });
    }
    await insisted.remove();
    await issuer.close();
  });
});

describe('a certificate that names hosts', () => {
  it.each(['meter', 'gateway', 'reader'] as const)('is not issued to a %s, nor read from one', (role) => {
    const folder = makeTemporaryFolder();
    const timeS = systemNowS();
    const ca = initCa(suiteX25519, folder, { name: 'CA', nowS: timeS, random: randomBytes });
    const servedAs = { dnsNames: ['host.example'], ipAddresses: [] };
    const request = { id: 'a', nowS: timeS, days: 1, random: randomBytes };
    const refusal = expect.objectContaining({ code: 'certificate-request' }) as object;
    expect(() => issue(ca, { ...request, role, servedAs })).toThrow(refusal);
    const [backend] = issue(ca, { ...request, role: 'backend', servedAs }).chain;
    const other = Buffer.from(backend!);
    const at = other.indexOf('urn:gridring:backend:a');
    // As long as the other, so that only the role differs.
    other.write('urn:gridring:gateway:a', at);
    expect(parseCertificate(suiteX25519, backend!)).toMatchObject({ role: 'backend', id: 'a' });
    expect(() => parseCertificate(suiteX25519, other)).toThrow('certificate of this role does not have');
    removeFolder(folder);
  });

  it.each([
    ['Host.Example', 'no DNS name'],
    ['*.example', 'no DNS name'],
    ['-a.example', 'no DNS name'],
    [`${'a.'.repeat(127)}a`, 'no DNS name'],
  ])('is not issued for %s', (name, why) => {
    const folder = makeTemporaryFolder();
    const timeS = systemNowS();
    const ca = initCa(suiteX25519, folder, { name: 'CA', nowS: timeS, random: randomBytes });
    const servedAs = { dnsNames: [name], ipAddresses: [] };
    const request = { role: 'backend', id: 'a', nowS: timeS, days: 1, random: randomBytes } as const;
    expect(() => issue(ca, { ...request, servedAs })).toThrow(why);
    removeFolder(folder);
  });
});
