/** The directory as its clients use it: register a TD, and find Things by type or id. */
import { GridringError, SetupError, UnavailableError, VerificationError } from '../crypto/errors.js';
import { isReservedId, verifyRegistration, type RegistrationCheck } from '../crypto/registration.js';
import { validateTd } from '../td/validate-td.js';
import { readEventStream, type ReadEvent } from './bindings/event-stream.js';
import type { Fetch } from './bindings/tls-fetch.js';
import { refusalOf } from './bindings/peer-refusal.js';

type ThingDescription = WoT.ThingDescription;

const requestTimeoutMs = 10_000;
const pageSize = 100;
/** What goes on for longer is no list that is of use here. */
const maxPages = 1_000;

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
  /** When a device signed the newest description of itself that was given here, Unix seconds. */
  readonly #newestS = new Map<string, number>();

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
   * with trust `td-old` and those of `verifyRegistration`
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
    let path: string | undefined = `/things?limit=${pageSize}`;
    for (let pages = 0; path !== undefined && pages < maxPages; pages++) {
      const response = await this.#fetch(path, {});
      const page: unknown = await response.json();
      if (!Array.isArray(page)) throw new SetupError('td-invalid', 'the directory gave something that is no list');
      found.push(...page.map(validated).filter((td) => this.#isProven(td)));
      path = nextOf(response.headers.get('link'), this.#options.url);
    }
    return found;
  }

  /**
   * What is registered, changed and removed from now on, or after the event of an id, until the directory ends it.
   * @throws PeerRefusal where it gives no notifications, UnavailableError
   */
  async events(signal: AbortSignal, lastEventId = ''): Promise<AsyncIterable<ReadEvent>> {
    const headers = { accept: 'text/event-stream', ...(lastEventId !== '' && { 'last-event-id': lastEventId }) };
    const { body } = await this.#fetch('/events', { headers, signal });
    return readEventStream(body);
  }

  #assertProven(td: ThingDescription): void {
    const { trust } = this.#options;
    if (!trust || td.id === undefined || !isReservedId(td.id)) return;
    const { timeS } = verifyRegistration({ ...trust, nowS: trust.nowS() }, { ...td });
    if (timeS < (this.#newestS.get(td.id) ?? 0)) {
      throw new VerificationError('td-old', `the directory gave an older description of ${td.id} than before`);
    }
    this.#newestS.set(td.id, timeS);
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
      response = await send(`${url}${path}`, { signal: AbortSignal.timeout(requestTimeoutMs), ...init, headers });
    } catch (cause) {
      if (cause instanceof GridringError) throw cause;
      throw new UnavailableError('directory-unreachable', `the directory at ${url} does not answer`, cause);
    }
    if (!response.ok) throw refusalOf(response.status, new Uint8Array(await response.arrayBuffer()));
    return response;
  }
}

/** The path of the `next` link (RFC 8288), on the directory and nowhere else. */
function nextOf(link: string | null, url: string): string | undefined {
  const target = /<([^>]*)>[^,]*;\s*rel="?next"?/.exec(link ?? '')?.[1];
  if (target === undefined) return undefined;
  const next = new URL(target, `${url}/`);
  if (next.origin !== new URL(url).origin) throw new SetupError('td-invalid', 'the directory goes on somewhere else');
  return next.href.slice(next.origin.length);
}

function validated(td: unknown): ThingDescription {
  const verdict = validateTd(td);
  if (!verdict.valid) throw new SetupError('td-invalid', 'the directory gave something that is no Thing Description');
  return verdict.td;
}
