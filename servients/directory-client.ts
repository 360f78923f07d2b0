/** The directory as its clients use it: register a TD, and find Things by type or id. */
import { GridringError, SetupError, UnavailableError, VerificationError } from '../crypto/errors.js';
import { isReservedId, verifyRegistration, type RegistrationCheck } from '../crypto/registration.js';
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
  /** With it, the description of a device is given only where that device has signed it. Default: all are given. */
  readonly trust?: DirectoryTrust;
}

/** The directory is not wholly trusted: whose certificates count, and when. */
export interface DirectoryTrust extends Omit<RegistrationCheck, 'nowS'> {
  readonly nowS: () => number;
  /** Hears of what is left out of a list. */
  readonly onRefused?: (id: string, error: GridringError) => void;
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

  /**
   * One Thing Description, validated.
   * @throws PeerRefusal `td-unknown`, UnavailableError, SetupError `td-invalid`; VerificationError `td-of-another`, and
   * with trust those of `verifyRegistration`
   */
  async thing(id: string): Promise<ThingDescription> {
    const response = await this.#fetch(`/things/${encodeURIComponent(id)}`, {});
    const td = validated(await response.json());
    if (td.id !== id) throw new VerificationError('td-of-another', `asked for ${id}, the directory gave another Thing`);
    this.#assertProven(td);
    return td;
  }

  /**
   * All Thing Descriptions, page after page, validated; with trust, without those that do not verify.
   * @throws PeerRefusal, UnavailableError, SetupError `td-invalid`
   */
  async things(): Promise<readonly ThingDescription[]> {
    const found: ThingDescription[] = [];
    for (let offset = 0; ; offset += pageSize) {
      const response = await this.#fetch(`/things?offset=${offset}&limit=${pageSize}`, {});
      const page = (await response.json()) as readonly unknown[];
      found.push(...page.map(validated).filter((td) => this.#isProven(td)));
      if (page.length < pageSize) return found;
    }
  }

  #assertProven(td: ThingDescription): void {
    const { trust } = this.#options;
    if (trust && isReservedId(td.id)) verifyRegistration({ ...trust, nowS: trust.nowS() }, { ...td });
  }

  #isProven(td: ThingDescription): boolean {
    try {
      this.#assertProven(td);
      return true;
    } catch (error) {
      if (!(error instanceof GridringError)) throw error;
      this.#options.trust?.onRefused?.(td.id ?? '', error);
      return false;
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
