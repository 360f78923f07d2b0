/** The directory as its clients use it: register a TD, and find Things by type or id. */
import { GridringError, SetupError, UnavailableError } from '../crypto/errors.js';
import { validateTd } from '../td/validate-td.js';
import type { Fetch } from './bindings/tls-fetch.js';
import { refusalOf } from './bindings/peer-refusal.js';

type ThingDescription = WoT.ThingDescription;

const requestTimeoutMs = 10_000;
const pageSize = 100;

export interface DirectoryClientOptions {
  /** Base URL of the directory's host, without a slash at its end. */
  readonly url: string;
  /** Gives a bearer token; reading needs one where the directory is not open. */
  readonly token?: () => Promise<string>;
  /** Default: Node's. One that authorizes requests itself needs no `token`. */
  readonly fetch?: Fetch;
}

export class DirectoryClient {
  readonly #options: DirectoryClientOptions;

  constructor(options: DirectoryClientOptions) {
    this.#options = options;
  }

  /** Creates or replaces the entry of a TD, given as JSON text. @throws PeerRefusal, UnavailableError */
  async register(id: string, td: string): Promise<void> {
    await this.#fetch(`/things/${encodeURIComponent(id)}`, {
      method: 'PUT',
      headers: {
        'content-type': 'application/td+json',
      },
      body: td,
    });
  }

  /** One Thing Description, validated. @throws PeerRefusal `td-unknown`, UnavailableError, SetupError `td-invalid` */
  async thing(id: string): Promise<ThingDescription> {
    const response = await this.#fetch(`/things/${encodeURIComponent(id)}`, {});
    return validated(await response.json());
  }

  /** All Thing Descriptions, page after page, validated. @throws PeerRefusal, UnavailableError, SetupError `td-invalid` */
  async things(): Promise<readonly ThingDescription[]> {
    const found: ThingDescription[] = [];
    for (let offset = 0; ; offset += pageSize) {
      const response = await this.#fetch(`/things?offset=${offset}&limit=${pageSize}`, {});
      const page = (await response.json()) as readonly unknown[];
      found.push(...page.map(validated));
      if (page.length < pageSize) return found;
    }
  }

  async #fetch(path: string, init: RequestInit): Promise<Response> {
    const { url, fetch: send = fetch } = this.#options;
    const token = await this.#options.token?.();
    const headers = new Headers(init.headers);
    if (token !== undefined) headers.set('authorization', `Bearer ${token}`);
    let response: Response;
    try {
      response = await send(`${url}${path}`, { ...init, headers, signal: AbortSignal.timeout(requestTimeoutMs) });
    } catch (cause) {
      if (cause instanceof GridringError) throw cause;
      throw new UnavailableError('directory-unreachable', `the directory at ${url} does not answer`, cause);
    }
    if (!response.ok) throw refusalOf(response.status, new Uint8Array(await response.arrayBuffer()));
    return response;
  }
}

function validated(td: unknown): ThingDescription {
  const verdict = validateTd(td);
  if (!verdict.valid) throw new SetupError('td-invalid', 'the directory gave something that is no Thing Description');
  return verdict.td;
}
