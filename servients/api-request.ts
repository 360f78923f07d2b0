/** One request to a backend's REST API. */
import { GridringError, UnavailableError } from '../crypto/errors.js';
import type { Fetch } from './bindings/tls-fetch.js';
import { refusalOf } from './bindings/peer-refusal.js';

const requestTimeoutMs = 15_000;

export interface ApiPlace {
  /** Of the backend, without a slash at the end. */
  readonly url: string;
  /** Authorizes the requests. Default: Node's, for what needs no token. */
  readonly fetch?: Fetch;
}

/**
 * @param path below /api/v1/
 * @returns an answer that is no refusal; 304 where that was asked for
 * @throws PeerRefusal with the backend's code; UnavailableError `backend-unreachable`; what `fetch` throws of ours
 */
export async function requestApi(
  { url, fetch: send = fetch }: ApiPlace,
  path: string,
  init: RequestInit = {},
): Promise<Response> {
  let response: Response;
  try {
    const signal = init.signal ?? AbortSignal.timeout(requestTimeoutMs);
    response = await send(`${url}/api/v1/${path}`, { ...init, signal });
  } catch (cause) {
    if (cause instanceof GridringError) throw cause;
    throw new UnavailableError('backend-unreachable', `the backend at ${url} does not answer`, cause);
  }
  if (response.ok || response.status === 304) return response;
  throw refusalOf(response.status, new Uint8Array(await response.arrayBuffer()));
}

/** Sends JSON, where there is some. @returns JSON; undefined where there is no answer but that it is done. @throws as `requestApi` */
export async function sendJson(place: ApiPlace, method: string, path: string, body?: object): Promise<unknown> {
  const response = await requestApi(place, path, {
    method,
    ...(body && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  });
  return response.status === 204 ? undefined : response.json();
}
