/** A real backend on a loopback port over a real database, and those who call it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Ajv, type SchemaObject } from 'ajv';
import addFormats from 'ajv-formats';
import { pino } from 'pino';
import { expect } from 'vitest';
import { toBase64Url } from '../../crypto/bytes.js';
import { parseCertificate, type CaCertificate } from '../../crypto/certificate.js';
import { signRegistration } from '../../crypto/registration.js';
import { resolveReference } from '../../td/references.js';
import type { Identity } from '../../things/parts.js';
import { runBackend, type BackendOptions, type RunningBackend } from '../../servients/backend.js';
import { makeTokenSource } from '../../servients/bindings/token.js';
import { proofFor, tokenKeyOf } from '../support/issuer.js';
import { nowS, type Neighbourhood, type Principal } from '../support/neighbourhood.js';

export const audience = 'urn:test:backend';

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: unknown;
}

interface Call {
  readonly as?: Principal;
  readonly token?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON unless it is bytes. */
  readonly body?: unknown;
}

export interface TestBackend extends RunningBackend {
  readonly folder: string;
  /** Log lines, as objects. */
  readonly logged: readonly Readonly<Record<string, unknown>>[];
  clockS: number;
  request(method: string, path: string, call?: Call): Promise<Response>;
  call(method: string, path: string, call?: Call): Promise<Answer>;
  /** With the same data folder and clock. */
  restart(): Promise<TestBackend>;
  remove(): Promise<void>;
}

export const issuingOf = ({ suite, certificates }: Neighbourhood): CaCertificate => {
  const issuing = parseCertificate(suite, certificates[0]!);
  if (issuing.role !== 'ca') throw new Error('the first certificate is the issuing CA');
  return issuing;
};

/** The device's description of itself, signed for the backend of these tests. */
export const signedTd = (
  n: Neighbourhood,
  device: Principal,
  more: object = {},
  use: { readonly directory?: string; readonly timeS?: number } = {},
): Readonly<Record<string, unknown>> =>
  signRegistration(n.suite, identityOf(n, device), deviceTd(device, more), {
    directory: audience,
    timeS: nowS,
    ...use,
  });

/** The same unsigned. */
export const deviceTd = ({ certificate }: Principal, more: object = {}): Readonly<Record<string, unknown>> => ({
  '@context': 'https://www.w3.org/2022/wot/td/v1.1',
  id: `urn:gridring:${certificate.role}:${certificate.id}`,
  title: certificate.id,
  securityDefinitions: { nosec_sc: { scheme: 'nosec' } },
  security: 'nosec_sc',
  ...more,
});

const identityOf = (n: Neighbourhood, { certificate, certHash, kid, signer }: Principal): Identity => ({
  id: certificate.id,
  certHash,
  kid,
  signer,
  certificates: [certificate.der, issuingOf(n).der],
});

export const tokenFor = (
  n: Neighbourhood,
  { secret, certificate }: Principal,
  at: { readonly timeS?: number; readonly audience?: string } = {},
): Promise<string> =>
  makeTokenSource(
    { suite: n.suite, secret, certificate, intermediates: [issuingOf(n)] },
    at.audience ?? audience,
    () => at.timeS ?? nowS,
  )();

/** Headers of one request with a token that a certificate signs itself, bound to its key, and the proof for it. */
export async function boundHeaders(
  n: Neighbourhood,
  { secret, signer, certificate }: Principal,
  { method, url, timeS = nowS }: { readonly method: string; readonly url: string; readonly timeS?: number },
): Promise<{ readonly authorization: string; readonly dpop: string }> {
  const holder = { suite: n.suite, secret, certificate, intermediates: [issuingOf(n)] };
  const token = await makeTokenSource(holder, audience, () => timeS, { bound: true })();
  const key = await tokenKeyOf(n.suite, { secret, signer });
  const dpop = await proofFor(key, { method, url: url.replace(/\?.*$/, ''), token, iat: timeS });
  return { authorization: `DPoP ${token}`, dpop };
}

export async function startBackend(
  n: Neighbourhood,
  options: Partial<BackendOptions> = {},
  folder = mkdtempSync(join(tmpdir(), 'gridring-backend-')),
  startS = nowS,
): Promise<TestBackend> {
  const logged: Record<string, unknown>[] = [];
  const state = { clockS: startS };
  const running = await runBackend({
    identity: identityOf(n, n.backend),
    suite: n.suite,
    trustedRoots: [n.root],
    dataDir: folder,
    listen: { address: '127.0.0.1', port: 0 },
    audience,
    version: '0.0.0-test',
    log: pino({ level: 'info' }, { write: (line: string) => void logged.push(JSON.parse(line) as (typeof logged)[0]) }),
    nowS: () => state.clockS,
    ...options,
  });
  const request: TestBackend['request'] = async (method, path, { as, token, headers = {}, body } = {}) => {
    // Where bearer tokens of certificates do not count.
    const isBound = token === undefined && options.embeddedIssuer === true;
    const bearer = token ?? (as && !isBound ? await tokenFor(n, as, { timeS: state.clockS }) : undefined);
    const bound =
      as && isBound && (await boundHeaders(n, as, { method, url: running.url + path, timeS: state.clockS }));
    const type = body instanceof Uint8Array ? 'application/cose' : 'application/json';
    return fetch(running.url + path, {
      method,
      headers: {
        ...(bearer !== undefined && { authorization: `Bearer ${bearer}` }),
        ...bound,
        ...(body !== undefined && { 'content-type': type }),
        ...headers,
      },
      ...(body !== undefined && { body: body instanceof Uint8Array ? Buffer.from(body) : asText(body) }),
    });
  };
  return Object.assign(state, {
    ...running,
    folder,
    logged,
    request,
    call: async (method: string, path: string, call?: Call) => {
      const response = await request(method, path, call);
      const { status, headers } = response;
      const bytes = new Uint8Array(await response.arrayBuffer());
      const isJson = bytes.length > 0 && /json/.test(headers.get('content-type') ?? '');
      return { status, headers, body: isJson ? (JSON.parse(new TextDecoder().decode(bytes)) as unknown) : bytes };
    },
    restart: async () => {
      await running.close();
      return startBackend(n, options, folder, state.clockS);
    },
    remove: async () => {
      await running.close();
      rmSync(folder, { recursive: true });
    },
  });
}

const asText = (body: unknown): string => (typeof body === 'string' ? body : JSON.stringify(body));

export const asJson = (message: Uint8Array): { readonly message: string } => ({ message: toBase64Url(message) });

/** That an answer is a problem document (RFC 9457) with this status and code. */
export function expectProblem({ status, headers, body }: Answer, expected: number, code: string): void {
  expect([status, (body as { readonly code?: string }).code]).toEqual([expected, code]);
  expect(headers.get('content-type')).toMatch(/^application\/problem\+json/);
  expect(body).toMatchObject({ type: `/api/v1/errors#${code}`, status: expected });
}

/** That a value is what a payload schema of td/schemas allows: a file, or a definition in one. */
export function expectFits(schema: string, value: unknown): void {
  const [file = '', definition] = schema.split('.');
  const fragment = definition === undefined ? '' : `#/definitions/${definition}`;
  const ajv = new Ajv();
  addFormats.default(ajv);
  const validate = ajv.compile(resolveReference(`schemas/${file}.schema.json${fragment}`) as SchemaObject);
  const fits = validate(value);
  expect([fits, validate.errors]).toEqual([true, null]);
}
