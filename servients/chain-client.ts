/** The chains of meters as a backend shows them, to whoever may see them: fetched page by page, every entry verified. */
import { equalBytes, fromBase64Url, fromHex, toHex } from '../crypto/bytes.js';
import { vouchedCertificate, type Certificate, type VerifiedCertificate } from '../crypto/certificate.js';
import type { GivenUp } from '../crypto/envelope/audit.js';
import type { EntryKind } from '../crypto/envelope/chain.js';
import { verifyEntryOf, type Entry } from '../crypto/envelope/entry.js';
import { MalformedError, NotFoundError, VerificationError } from '../crypto/errors.js';
import { certificateOf, lineOf, verifyMembership, type ListEntry, type Membership } from '../crypto/membership.js';
import type { Suite } from '../crypto/suite.js';
import { BackendClient } from './backend-client.js';
import type { Fetch } from './bindings/tls-fetch.js';
import { fetchAs } from './issuer-client.js';
import { trustedBy, type ReaderKeys } from './reader-file.js';

/** As the backend tells it. */
export interface MeterListing {
  readonly id: string;
  readonly certHash: string;
  readonly count: number;
  readonly lastSequence: number;
}

/** A meter of a membership list. */
export interface ListedMeter {
  readonly certificate: VerifiedCertificate;
  /** All under which it has signed its chain: the oldest first, the one above last. */
  readonly line: readonly VerifiedCertificate[];
  readonly membership: Membership;
  /** The list that names it, as a bundle: for whoever wants to check what the meter signed. */
  readonly bundle: Uint8Array;
}

export interface FetchedEntry {
  readonly entry: Entry;
  readonly message: Uint8Array;
}

const pageSize = 500;

/** A person who is logged in at a backend; the root is what the backend's word is held against. */
interface LoggedIn extends Pick<ReaderKeys, 'suite' | 'root' | 'roots'> {
  readonly backend: Pick<ReaderKeys['backend'], 'url'>;
  readonly send: Fetch;
}

/** Who asks a backend: somebody with a key file, or who is logged in. */
export type Asking = Omit<ReaderKeys, 'hpkeKey' | 'signer'> | LoggedIn;

/** Requests to the backend as whoever asks. */
export const fetchOf = (asking: Asking, nowS: () => number): Fetch =>
  'send' in asking ? asking.send : fetchAs(asking, asking.backend.audience, dersOf(trustedBy(asking)), nowS);

const dersOf = (certificates: readonly Certificate[]): readonly Uint8Array[] => certificates.map(({ der }) => der);

export function backendOf(asking: Asking, nowS: () => number): BackendClient {
  const { suite, backend } = asking;
  return new BackendClient({ suite, trustedRoots: trustedBy(asking), url: backend.url, fetch: fetchOf(asking, nowS) });
}

export class ChainClient {
  readonly #keys: Pick<ReaderKeys, 'suite' | 'root' | 'roots'>;
  readonly #backend: BackendClient;
  readonly #nowS: () => number;
  readonly #meters = new Map<string, ListedMeter>();

  constructor(keys: Asking, nowS: () => number) {
    this.#keys = keys;
    this.#backend = backendOf(keys, nowS);
    this.#nowS = nowS;
  }

  get suite(): Suite {
    return this.#keys.suite;
  }

  /** The meters that the caller may see. @throws PeerRefusal, UnavailableError */
  async meters(): Promise<readonly MeterListing[]> {
    const listed = itemsOf(await this.#backend.get('meters'), 'meters') as readonly MeterListing[];
    return listed.map((meter) => ({ ...meter, id: meter.id.replace(/^urn:gridring:meter:/, '') }));
  }

  /**
   * Entries of a chain as one page gives them, ascending by sequence.
   * @throws PeerRefusal `meter-unknown`, UnavailableError, VerificationError when an entry does not verify
   */
  async *entries(name: string, after: number, kind?: EntryKind): AsyncGenerator<FetchedEntry, void, undefined> {
    const { line } = await this.meter(name);
    let signer = 0;
    const ofKind = kind === undefined ? '' : `&kind=${kind}`;
    for (let from = after; ;) {
      const path = `meters/${encodeURIComponent(name)}/chain?after=${from}&limit=${pageSize}${ofKind}`;
      const page = itemsOf(await this.#backend.get(path), 'entries').map(messageOf);
      for (const message of page) {
        const entry = verifyEntryOf(this.#keys.suite, line, message);
        const place = placeOf(entry, line);
        // With a certificate that was replaced nothing is signed any more.
        if (entry.sequence <= from || place < signer) {
          throw new VerificationError('chain-order', 'the backend gave entries out of order');
        }
        [from, signer] = [entry.sequence, place];
        yield { entry, message };
      }
      if (page.length < pageSize) return;
    }
  }

  /** What the backend says that it has given up of a chain, ascending. @throws as `entries`; MalformedError */
  async givenUp(name: string): Promise<readonly GivenUp[]> {
    const stretches = itemsOf(await this.#backend.get(`meters/${encodeURIComponent(name)}/dropped`), 'dropped');
    return stretches.map(givenUpOf);
  }

  /** Messages of a meter below /api/v1/meters/. @throws PeerRefusal `meter-unknown`, UnavailableError */
  async messages(name: string, path: string, what: string): Promise<readonly Uint8Array[]> {
    const answer = await this.#backend.get(`meters/${encodeURIComponent(name)}/${path}`);
    return itemsOf(answer, what).map(messageOf);
  }

  /**
   * A meter by its id or its certHash in hex, by a list that the authority signed: not by what the backend says.
   * @throws NotFoundError `meter-unknown`
   */
  async meter(name: string): Promise<ListedMeter> {
    const known = this.#meters.get(name);
    if (known) return known;
    for (const { gid } of itemsOf(await this.#backend.get('groups'), 'groups') as readonly { readonly gid: string }[]) {
      const { membership, bundle } = await this.#membership(fromHex(gid));
      const { list, certificates } = membership;
      const index = list.entries.findIndex(
        (entry, i) =>
          certificates[i]?.role === 'meter' &&
          (certificates[i].id === name || lineOf(entry).some((certHash) => toHex(certHash) === name)),
      );
      const entry = list.entries[index];
      if (!entry) continue;
      const certificate = certificateOf(membership, entry.certHash, 'member', this.#nowS());
      const meter = { certificate, line: await this.#line(entry, certificate), membership, bundle };
      this.#meters.set(name, meter);
      return meter;
    }
    throw new NotFoundError('meter-unknown', `no meter ${JSON.stringify(name)} in any membership list`);
  }

  /** Whoever gives the certificates of before: the list names their hashes. */
  async #line(entry: ListEntry, holder: VerifiedCertificate): Promise<readonly VerifiedCertificate[]> {
    const { replaced = [] } = entry;
    if (replaced.length === 0) return [holder];
    const { suite } = this.#keys;
    const answer = await this.#backend.get(`meters/${toHex(holder.certHash)}/certificates`);
    const ders = new Map(
      itemsOf(answer, 'certificates').map((item) => {
        const der = typeof item === 'string' ? fromBase64Url(item) : new Uint8Array(0);
        return [toHex(suite.sha256(der)), der];
      }),
    );
    const before = replaced.map((certHash) => {
      const der = ders.get(toHex(certHash));
      if (der) return vouchedCertificate(suite, der, certHash, holder);
      throw new NotFoundError('certificate-unknown', `the backend has lost a certificate that ${holder.id} had before`);
    });
    return [...before, holder];
  }

  async #membership(gid: Uint8Array): Promise<{ readonly membership: Membership; readonly bundle: Uint8Array }> {
    const { suite } = this.#keys;
    const bundle = messageOf(await this.#backend.get(`groups/${toHex(gid)}/membership`));
    const membership = verifyMembership({ suite, trustedRoots: trustedBy(this.#keys), nowS: this.#nowS() }, bundle);
    if (!equalBytes(membership.list.gid, gid)) throw new VerificationError('wrong-group', 'a list of another group');
    return { membership, bundle };
  }
}

/** Which certificate of a line has signed an entry. */
export const placeOf = ({ meter }: Entry, line: readonly VerifiedCertificate[]): number =>
  line.findIndex(({ certHash }) => equalBytes(certHash, meter));

function itemsOf(answer: unknown, name: string): readonly unknown[] {
  const items: unknown = Array.isArray(answer) ? answer : (answer as Record<string, unknown> | null)?.[name];
  if (!Array.isArray(items)) throw new MalformedError('message-malformed', `the backend gave no list of ${name}`);
  return items;
}

function givenUpOf(item: unknown): GivenUp {
  const { first, last, previousHash, hash } = (item ?? {}) as { readonly [name in keyof GivenUp]?: unknown };
  if (!isSequence(first) || !isSequence(last) || first > last || !isHash(previousHash) || !isHash(hash)) {
    throw new MalformedError('message-malformed', 'the backend gave no stretch of a chain');
  }
  return { first, last, previousHash: fromHex(previousHash), hash: fromHex(hash) };
}

const isSequence = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) > 0;
const isHash = (value: unknown): value is string => typeof value === 'string' && /^[\da-f]{64}$/.test(value);

function messageOf(item: unknown): Uint8Array {
  const message: unknown = (item as { readonly message?: unknown } | null)?.message;
  if (typeof message !== 'string') throw new MalformedError('message-malformed', 'the backend gave no message');
  return fromBase64Url(message);
}
