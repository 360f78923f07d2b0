/** What it costs to know who calls: the check of a token and of a proof, and requests a second beside a bare route. */
import { createHash, generateKeyPairSync, randomUUID, type KeyObject } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { Agent, createServer, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import Fastify from 'fastify';
import { calculateJwkThumbprint, createLocalJWKSet, exportJWK, SignJWT, type JWK } from 'jose';
import { pino } from 'pino';
import type { Suite } from '../crypto/suite.js';
import { makeAccessTokenVerifier } from '../servients/auth/access-token.js';
import { makeProofVerifier } from '../servients/auth/possession.js';
import { runBackend } from '../servients/backend.js';
import { readConfig } from '../servients/config.js';
import { readCertificates, readIdentity } from '../servients/identity-files.js';
import { openBackendStores } from '../servients/stores/backend.js';
import { makeTown, nowS } from './deployment.js';
import { audience, writeBackend } from './ingest/backends.js';
import { quantile } from './statistics.js';

export interface CheckRow {
  readonly check: string;
  readonly count: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export interface RequestRow {
  readonly request: string;
  readonly count: number;
  readonly perSecond: number;
  /** To the bare route's. */
  readonly ratio: number;
}

export interface AuthRows {
  readonly checks: readonly CheckRow[];
  readonly requests: readonly RequestRow[];
}

interface Key {
  readonly privateKey: KeyObject;
  readonly jwk: JWK;
}

const connections = 8;

export async function measureAuth(suite: Suite, count: number): Promise<AuthRows> {
  const folder = mkdtempSync(join(tmpdir(), 'gridring-auth-'));
  const [issuerKey, callerKey] = [await makeKey(), await makeKey()];
  const issuer = createServer((_request, response) => {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ keys: [issuerKey.jwk] }));
  });
  issuer.listen(0, '127.0.0.1');
  await once(issuer, 'listening');
  try {
    const url = `http://127.0.0.1:${(issuer.address() as AddressInfo).port}`;
    const checks = await measureChecks(suite, folder, url, issuerKey, callerKey, count);
    const requests = await measureRequests(suite, folder, url, issuerKey, callerKey, count);
    return { checks, requests };
  } finally {
    issuer.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function makeKey(): Promise<Key> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { privateKey, jwk: { ...(await exportJWK(publicKey)), alg: 'ES256' } };
}

async function tokenOf(issuer: string, { privateKey }: Key, caller?: Key): Promise<string> {
  const cnf = caller && { cnf: { jkt: await calculateJwkThumbprint(caller.jwk) } };
  return new SignJWT({ roles: ['VIEWER'], client_id: 'bench', ...cnf })
    .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt' })
    .setIssuer(issuer)
    .setSubject('bench')
    .setAudience(audience)
    .setJti(randomUUID())
    .setIssuedAt(nowS())
    .setExpirationTime(nowS() + 3_600)
    .sign(privateKey);
}

const proofOf = ({ privateKey, jwk: { kty, crv, x, y } }: Key, url: string, token: string): Promise<string> =>
  new SignJWT({ htm: 'GET', htu: url, ath: createHash('sha256').update(token).digest('base64url') })
    .setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk: { kty, crv, x, y } })
    .setJti(randomUUID())
    .setIssuedAt(nowS())
    .sign(privateKey);

async function measureChecks(
  suite: Suite,
  folder: string,
  issuer: string,
  issuerKey: Key,
  caller: Key,
  count: number,
): Promise<readonly CheckRow[]> {
  const keys = createLocalJWKSet({ keys: [issuerKey.jwk] });
  const trusted = { name: issuer, url: () => issuer, audience, keys, rolesClaim: 'roles' };
  const verifyToken = makeAccessTokenVerifier({ issuers: [trusted], suite, trustedRoots: [] });
  const verifyProof = makeProofVerifier();
  const stores = await openBackendStores({ dataDir: join(folder, 'checks'), suite: suite.name });
  const address = 'https://backend.example/api/v1/me';
  const token = await tokenOf(issuer, issuerKey, caller);
  const tokens = await each(count, () => tokenOf(issuer, issuerKey, caller));
  const proofs = await each(count, () => proofOf(caller, address, token));
  const keyThumbprint = await calculateJwkThumbprint(caller.jwk);
  const of = { method: 'GET', addresses: [address], token, keyThumbprint };
  const row = async (check: string, items: readonly string[], work: (item: string) => Promise<unknown>) => {
    const latencies: number[] = [];
    for (const item of items) {
      const began = performance.now();
      await work(item);
      latencies.push(performance.now() - began);
    }
    const [p50Ms, p99Ms] = [quantile(latencies, 0.5), quantile(latencies, 0.99)];
    return { check, count: items.length, p50Ms, p99Ms };
  };
  const rows = [
    await row('token, for the first time', tokens, (each) => verifyToken(each, nowS())),
    await row('token, remembered', proofs, () => verifyToken(token, nowS())),
    await row('token and proof', proofs, async (proof) => {
      await verifyToken(token, nowS());
      const { name, expiresS } = await verifyProof(proof, of, nowS());
      await stores.accounts.takeProof(name, expiresS);
    }),
  ];
  await stores.close();
  return rows;
}

async function measureRequests(
  suite: Suite,
  folder: string,
  issuer: string,
  issuerKey: Key,
  caller: Key,
  count: number,
): Promise<readonly RequestRow[]> {
  const [deployment] = makeTown(suite, 2, 1);
  if (!deployment) throw new TypeError('a town has groups');
  const config = readConfig('backend', writeBackend(deployment, join(folder, 'backend'), { dataDir: 'data' }));
  const backend = await runBackend({
    identity: readIdentity(suite, config),
    suite,
    trustedRoots: readCertificates(suite, config.root, 'root certificate'),
    dataDir: config.dataDir,
    listen: { address: '127.0.0.1', port: 0 },
    audience,
    version: 'bench',
    log: pino({ level: 'silent' }),
    issuers: [{ issuer, jwksUri: `${issuer}/jwks`, rolesClaim: 'roles' }],
    http: { limits: { requestsPerMinute: 10_000_000 } },
  });
  const bare = Fastify();
  const [unbound, bound] = [await tokenOf(issuer, issuerKey), await tokenOf(issuer, issuerKey, caller)];
  const me = `${backend.url}/api/v1/me`;
  const proofs = await each(2 * count, () => proofOf(caller, me, bound));
  const answer = await (await fetch(me, { headers: { authorization: `Bearer ${unbound}` } })).json();
  bare.get('/', async () => answer);
  const bareUrl = await bare.listen({ host: '127.0.0.1', port: 0 });
  const measured: readonly (readonly [string, string, () => Readonly<Record<string, string>>])[] = [
    ['bare Fastify route', bareUrl, () => ({})],
    ['REST, open', `${backend.url}/api/v1/identity`, () => ({})],
    ['REST, bearer token', me, () => ({ authorization: `Bearer ${unbound}` })],
    ['REST, token and proof', me, () => ({ authorization: `DPoP ${bound}`, dpop: proofs.pop() ?? '' })],
  ];
  const rows: RequestRow[] = [];
  for (const [name, url, headers] of measured) {
    await perSecond(url, headers, count);
    const rate = await perSecond(url, headers, count);
    const ratio = rate / (rows[0]?.perSecond ?? rate);
    rows.push({ request: name, count, perSecond: rate, ratio });
  }
  await bare.close();
  await backend.close();
  return rows;
}

/** Over connections that stay open, one request at a time on each. */
async function perSecond(url: string, headers: () => Readonly<Record<string, string>>, count: number): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  let left = count;
  const began = performance.now();
  await Promise.all(
    Array.from({ length: connections }, async () => {
      while (left-- > 0) await get(url, headers(), agent);
    }),
  );
  const seconds = (performance.now() - began) / 1_000;
  agent.destroy();
  return count / seconds;
}

const get = (url: string, headers: Readonly<Record<string, string>>, agent: Agent): Promise<void> =>
  new Promise((resolve, reject) => {
    httpRequest(url, { agent, headers }, (response) => {
      response.resume().once('end', () => {
        if (response.statusCode === 200) resolve();
        else reject(new Error(`${url} answers ${response.statusCode ?? 'nothing'}`));
      });
    })
      .once('error', reject)
      .end();
  });

async function each<T>(count: number, make: () => Promise<T>): Promise<T[]> {
  const made: T[] = [];
  for (let i = 0; i < count; i++) made.push(await make());
  return made;
}
