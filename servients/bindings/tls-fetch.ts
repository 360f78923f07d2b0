/**
 * `fetch` to servers of the deployment: over HTTPS under its own roots and no others, showing one's own certificate where
 * there is one. Node's `fetch` takes neither.
 */
import { Agent, request as sendRequest } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { toPem } from '../../crypto/certificate/pem.js';
import { makeTraceparent } from './trace.js';
import type { Suite } from '../../crypto/suite.js';
import { privateKeyToPem } from '../identity-files.js';

export type Fetch = (url: string, init?: RequestInit) => Promise<Response>;

export interface TlsParty {
  /** DER. */
  readonly roots: readonly Uint8Array[];
  /** Shown to servers that ask for it: the chain, leaf first, DER, and its key. */
  readonly identity?: {
    readonly suite: Suite;
    readonly certificates: readonly Uint8Array[];
    readonly secret: Uint8Array;
  };
}

/** Every request says which trace it belongs to. Plain HTTP goes where it says. Redirects of HTTPS servers are not followed. */
export function makeFetch({ roots, identity }: TlsParty): Fetch {
  const agent = new Agent({
    keepAlive: true,
    ca: roots.map(toPem),
    ...(identity && {
      cert: identity.certificates.map(toPem).join(''),
      key: privateKeyToPem(identity.suite, identity.secret, identity.suite.signer(identity.secret).publicKey),
    }),
    minVersion: 'TLSv1.3',
    // A session that is taken up again shows no chain.
    maxCachedSessions: 0,
  });
  return (url, init = {}) => {
    const headers = new Headers(init.headers);
    headers.set('traceparent', makeTraceparent());
    const traced = { ...init, headers };
    return url.startsWith('https:') ? overTls(agent, new Request(url, traced)) : fetch(url, traced);
  };
}

async function overTls(agent: Agent, request: Request): Promise<Response> {
  const { method, signal } = request;
  const body = request.body ? Buffer.from(await request.arrayBuffer()) : undefined;
  const headers = Object.fromEntries(request.headers);
  return new Promise((resolve, reject) => {
    const sent = sendRequest(request.url, { agent, method, headers, signal }, (answer) => {
      resolve(responseOf(answer));
    });
    sent.once('error', reject);
    sent.end(body);
  });
}

const withoutBody: ReadonlySet<number> = new Set([204, 205, 304]);

function responseOf(answer: IncomingMessage): Response {
  const { statusCode: status = 500, statusMessage: statusText = '', headers: received } = answer;
  const headers = new Headers();
  for (const [name, value] of Object.entries(received)) {
    for (const item of [value ?? []].flat()) headers.append(name, item);
  }
  if (withoutBody.has(status)) answer.resume();
  const body = withoutBody.has(status) ? null : (Readable.toWeb(answer) as ReadableStream<Uint8Array>);
  return new Response(body, { status, statusText, headers });
}
