/** The backend's REST API as gateways and readers use it. */
import { fromBase64Url, fromHex, toBase64Url, toHex } from '../crypto/bytes.js';
import { parseCertificate, verifyChain, type Certificate, type VerifiedCertificate } from '../crypto/certificate.js';
import { MalformedError } from '../crypto/errors.js';
import type { Suite } from '../crypto/suite.js';
import type { Fetch } from './bindings/tls-fetch.js';
import { requestApi, sendJson } from './api-request.js';
import { cborType, coseType } from './bindings/media-types.js';
import { systemNowS } from './runtime.js';

export interface BackendClientOptions {
  readonly suite: Suite;
  readonly trustedRoots: readonly Certificate[];
  readonly url: string;
  /** Authorizes the requests. Default: Node's, which is enough to bring a membership list, or to ask who the backend is. */
  readonly fetch?: Fetch;
}

interface ShownCommand {
  readonly id: string;
  readonly message: string;
  readonly targets: readonly string[];
}

/** A command that the backend keeps for a gateway's members. */
export interface BackendCommand {
  readonly id: Uint8Array;
  readonly message: Uint8Array;
  /** certHashes of those whose receipt the backend lacks. */
  readonly targets: readonly Uint8Array[];
}

export class BackendClient {
  readonly #options: BackendClientOptions;
  #certificate: Promise<VerifiedCertificate> | undefined;

  constructor(options: BackendClientOptions) {
    this.#options = options;
  }

  /** The backend's certificate, verified up to the root; asked for once. */
  certificate(): Promise<VerifiedCertificate> {
    this.#certificate ??= this.#fetchCertificate().catch((error: unknown) => {
      this.#certificate = undefined;
      throw error;
    });
    return this.#certificate;
  }

  /** The next one is asked for anew: the backend may have renewed it. */
  forgetCertificate(): void {
    this.#certificate = undefined;
  }

  /** @throws PeerRefusal with the backend's code, UnavailableError `backend-unreachable` */
  async publishMembership(bundle: Uint8Array): Promise<void> {
    await this.#post('memberships', bundle);
  }

  /** @returns the endorsement bundle, to be verified. @throws PeerRefusal, UnavailableError */
  recordEpoch(record: Uint8Array): Promise<Uint8Array> {
    return this.#post('epochs', record);
  }

  /**
   * The newest membership bundle of a group, to be verified; undefined while it is the list of the hash that is known.
   * @throws PeerRefusal `group-unknown`, UnavailableError
   */
  async membership(gid: Uint8Array, knownListHash?: Uint8Array): Promise<Uint8Array | undefined> {
    const headers = {
      accept: cborType,
      ...(knownListHash && { 'if-none-match': `W/"${toHex(knownListHash)}"` }),
    };
    const response = await this.#fetch(`groups/${toHex(gid)}/membership`, { headers });
    return response.status === 304 ? undefined : new Uint8Array(await response.arrayBuffer());
  }

  /** Asks for a certificate in the place of one. @throws PeerRefusal, UnavailableError */
  async renew(message: Uint8Array): Promise<void> {
    await this.send('POST', 'enrolments/renewals', { message: toBase64Url(message) });
  }

  /** Brings an operator's command. @throws PeerRefusal, UnavailableError */
  async command(message: Uint8Array): Promise<void> {
    await this.#post('commands', message);
  }

  /** Brings an operator's proposal. @throws PeerRefusal, UnavailableError */
  async propose(gid: Uint8Array, message: Uint8Array): Promise<void> {
    await this.#post(`groups/${toHex(gid)}/proposals`, message);
  }

  /** Commands of a group that members have not answered, unverified. @throws PeerRefusal `group-unknown`, UnavailableError */
  async waitingCommands(gid: Uint8Array): Promise<readonly BackendCommand[]> {
    const { commands } = (await this.get(`groups/${toHex(gid)}/commands/waiting`)) as { readonly commands?: unknown };
    try {
      return (commands as readonly ShownCommand[]).map(({ id, message, targets }) => ({
        ...{ id: fromHex(id), message: fromBase64Url(message), targets: targets.map(fromHex) },
      }));
    } catch (cause) {
      throw new MalformedError('message-malformed', 'the backend shows no commands', cause);
    }
  }

  /** Reports a command that this gateway was given itself. @throws PeerRefusal, UnavailableError */
  async reportCommand(gid: Uint8Array, message: Uint8Array): Promise<void> {
    await this.#post(`groups/${toHex(gid)}/commands`, message);
  }

  /** Brings a member's receipt. @throws PeerRefusal `command-unknown`, UnavailableError */
  async commandReceipt(commandId: Uint8Array, receipt: Uint8Array): Promise<void> {
    await this.#post(`commands/${toHex(commandId)}/receipts`, receipt);
  }

  /**
   * Listens for what happens, until the backend ends it, as it does with the token. What an event tells is to be asked for.
   * @throws PeerRefusal, UnavailableError
   */
  async listenFor(
    what: 'memberships' | 'commands' | 'receipts',
    onEvent: () => void,
    signal: AbortSignal,
  ): Promise<void> {
    const headers = { accept: 'text/event-stream' };
    const { body } = await this.#fetch(`events/${what}`, { headers, signal });
    if (!body) return;
    const text = new TextDecoder();
    for await (const chunk of body as AsyncIterable<Uint8Array>) {
      if (text.decode(chunk).includes('data:')) onEvent();
    }
  }

  /** The proof of an epoch, to be verified. @throws PeerRefusal `epoch-unknown`, UnavailableError */
  async proof(gid: Uint8Array, epoch: number, attempt: number): Promise<Uint8Array> {
    const headers = { accept: cborType };
    const response = await this.#fetch(`groups/${toHex(gid)}/epochs/${epoch}.${attempt}/proof`, { headers });
    return new Uint8Array(await response.arrayBuffer());
  }

  /** @returns the signed receipt. @throws PeerRefusal, UnavailableError */
  uploadReadings(upload: Uint8Array): Promise<Uint8Array> {
    return this.#post('readings', upload);
  }

  /** A JSON resource below /api/v1/. @throws PeerRefusal, UnavailableError */
  async get(path: string): Promise<unknown> {
    const response = await this.#fetch(path, {});
    return response.json();
  }

  /** Posts nothing but the request itself. @returns JSON. @throws PeerRefusal, UnavailableError */
  async post(path: string): Promise<unknown> {
    const response = await this.#fetch(path, { method: 'POST' });
    return response.json();
  }

  /** Sends JSON. @returns JSON; undefined where there is no answer but that it is done. @throws PeerRefusal, UnavailableError */
  send(method: 'POST' | 'PUT', path: string, body: object): Promise<unknown> {
    return sendJson(this.#options, method, path, body);
  }

  async #fetchCertificate(): Promise<VerifiedCertificate> {
    const { suite, trustedRoots } = this.#options;
    const { certificates } = (await this.get('identity')) as { readonly certificates?: unknown };
    if (!Array.isArray(certificates)) throw new MalformedError('message-malformed', 'the backend shows no certificate');
    const [leaf, ...above] = certificates.map((der) => parseCertificate(suite, fromBase64Url(String(der))));
    if (!leaf) throw new MalformedError('message-malformed', 'the backend shows no certificate');
    return verifyChain(suite, leaf, above, trustedRoots, systemNowS(), 'backend');
  }

  async #post(path: string, message: Uint8Array): Promise<Uint8Array> {
    const headers = {
      'content-type': coseType,
      accept: `${coseType}, application/json`,
    };
    const response = await this.#fetch(path, { method: 'POST', headers, body: message });
    return new Uint8Array(await response.arrayBuffer());
  }

  #fetch(path: string, init: RequestInit): Promise<Response> {
    return requestApi(this.#options, path, init);
  }
}
