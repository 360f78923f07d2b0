/** A reader: fetches ciphertext from the backend, verifies who sealed it, and opens what was granted to its key. */
import { equalBytes, fromBase64Url, fromHex, toHex } from '../crypto/bytes.js';
import { parseCertificate, type CaCertificate, type VerifiedCertificate } from '../crypto/certificate.js';
import { openGrant, verifyGrant } from '../crypto/envelope/grant.js';
import { firstPreviousHash } from '../crypto/envelope/chain.js';
import { verifyEntry, type Entry } from '../crypto/envelope/entry.js';
import { openReading, type SealedReading } from '../crypto/envelope/reading.js';
import { decodeSenml, type Reading } from '../crypto/envelope/senml.js';
import { MalformedError, NotFoundError, VerificationError } from '../crypto/errors.js';
import { certificateOf, verifyMembership, type Membership } from '../crypto/membership.js';
import { BackendClient } from './backend-client.js';
import { makeTokenSource } from './bindings/token.js';
import type { ReaderKeys } from './reader-file.js';
import { systemNowS } from './runtime.js';

export interface MeterListing {
  readonly id: string;
  readonly certHash: string;
  readonly count: number;
  readonly lastSequence: number;
}

export interface OpenedReading {
  readonly sequence: number;
  readonly epoch: number;
  readonly reading: Reading;
  /** False where the entry before it was fetched too and is not the one that this one follows. */
  readonly follows: boolean;
}

/** Which readings: the last so many, or those after a sequence, with all that stands among them in the chain. */
export type Range = { readonly last: number } | { readonly after: number };

export interface FetchedReadings {
  readonly opened: readonly OpenedReading[];
  /** Readings that are there and that no grant opens. */
  readonly closed: number;
  /** How many entries of the chain, of those that were fetched, do not follow the one before them. */
  readonly breaks: number;
  /** Of the last entry that was fetched; where there is none, the one after which they were asked for. */
  readonly lastSequence: number;
}

const pageSize = 500;

/** The backend of a key file, to which the reader shows who it is. */
export function backendOf(keys: ReaderKeys, nowS: () => number): BackendClient {
  const { suite, root, backend, certificate, certificates, secret } = keys;
  const intermediates = certificates
    .slice(1)
    .map((der) => parseCertificate(suite, der))
    .filter((above): above is CaCertificate => above.role === 'ca');
  const token = makeTokenSource({ suite, secret, certificate, intermediates }, backend.audience, nowS);
  return new BackendClient({ suite, trustedRoots: [root], url: backend.url, token });
}

export class Reader {
  readonly #keys: ReaderKeys;
  readonly #backend: BackendClient;
  readonly #certificates = new Map<string, VerifiedCertificate>();
  /** Reading keys by meter, then by H(rk, key) in hex. */
  readonly #readingKeys = new Map<string, Map<string, Uint8Array>>();

  constructor(keys: ReaderKeys) {
    this.#keys = keys;
    this.#backend = backendOf(keys, systemNowS);
  }

  /** The meters that the policy lets this reader read. @throws PeerRefusal, UnavailableError */
  async meters(): Promise<readonly MeterListing[]> {
    const listed = itemsOf(await this.#backend.get('meters'), 'meters') as readonly MeterListing[];
    return listed.map((meter) => ({ ...meter, id: meter.id.replace(/^urn:gridring:meter:/, '') }));
  }

  /**
   * Fetches, verifies and opens readings of a meter, ascending by sequence.
   * @throws PeerRefusal `meter-unknown`, UnavailableError, VerificationError when an envelope does not verify
   */
  async read(meterId: string, range: Range): Promise<FetchedReadings> {
    const certificate = await this.#certificateOf(meterId);
    const messages = await this.#fetch(meterId, range);
    const opened: OpenedReading[] = [];
    let [closed, breaks] = [0, 0];
    let before = startOf(range);
    for (const message of messages) {
      const entry = verifyEntry(this.#keys.suite, certificate, message);
      const follows = before === undefined || isNext(before, entry);
      if (!follows) breaks += 1;
      before = entry;
      if (entry.kind !== 'reading') continue;
      const reading = await this.#open(meterId, certificate, entry);
      if (reading) opened.push({ sequence: entry.sequence, epoch: entry.epoch, reading, follows });
      else closed += 1;
    }
    return { opened, closed, breaks, lastSequence: before?.sequence ?? 0 };
  }

  /** Undefined where no grant opens it. */
  async #open(meterId: string, certificate: VerifiedCertificate, sealed: SealedReading): Promise<Reading | undefined> {
    const key = await this.#readingKey(meterId, certificate, sealed.keyHash);
    return key && onlyReading(openReading(this.#keys.suite, key, sealed), certificate);
  }

  async #fetch(meterId: string, range: Range): Promise<readonly Uint8Array[]> {
    const path = `meters/${encodeURIComponent(meterId)}`;
    if ('last' in range) return messagesOf(await this.#backend.get(`${path}/readings?last=${range.last}`));
    const all: Uint8Array[] = [];
    for (let after = range.after; ;) {
      const page = itemsOf(await this.#backend.get(`${path}/chain?after=${after}&limit=${pageSize}`), 'entries');
      all.push(...page.map(messageOf));
      const last = page.at(-1) as { readonly sequence?: unknown } | undefined;
      if (page.length < pageSize || typeof last?.sequence !== 'number') return all;
      after = last.sequence;
    }
  }

  /** Grants are fetched again when a reading names a key that none of them gave. */
  async #readingKey(
    meterId: string,
    certificate: VerifiedCertificate,
    keyHash: Uint8Array,
  ): Promise<Uint8Array | undefined> {
    const known = this.#readingKeys.get(meterId)?.get(toHex(keyHash));
    if (known) return known;
    const { suite, hpkeKey } = this.#keys;
    const self = { certHash: this.#keys.certificate.certHash, hpkeKey };
    const keys = new Map<string, Uint8Array>();
    for (const message of messagesOf(
      await this.#backend.get(`meters/${encodeURIComponent(meterId)}/grants`),
      'grants',
    )) {
      const grant = verifyGrant(suite, certificate, message);
      keys.set(toHex(grant.keyHash), openGrant(suite, self, grant));
    }
    this.#readingKeys.set(meterId, keys);
    return keys.get(toHex(keyHash));
  }

  /** The meter's certificate, by a list that the authority signed: not by what the backend says. */
  async #certificateOf(meterId: string): Promise<VerifiedCertificate> {
    const known = this.#certificates.get(meterId);
    if (known) return known;
    for (const { gid } of itemsOf(await this.#backend.get('groups'), 'groups') as readonly { readonly gid: string }[]) {
      const membership = await this.#membership(fromHex(gid));
      const certificate = membership.certificates.find((listed) => listed?.id === meterId && listed.role === 'meter');
      if (!certificate) continue;
      const listed = certificateOf(membership, certificate.certHash, 'member', systemNowS());
      this.#certificates.set(meterId, listed);
      return listed;
    }
    throw new NotFoundError('meter-unknown', `no meter ${JSON.stringify(meterId)} in any membership list`);
  }

  async #membership(gid: Uint8Array): Promise<Membership> {
    const { suite, root } = this.#keys;
    const answer = await this.#backend.get(`groups/${toHex(gid)}/membership`);
    const membership = verifyMembership({ suite, trustedRoots: [root], nowS: systemNowS() }, messageOf(answer));
    if (!equalBytes(membership.list.gid, gid)) throw new VerificationError('wrong-group', 'a list of another group');
    return membership;
  }
}

type Before = { readonly sequence: number; readonly hash?: Uint8Array };

/** Of the entry before the first its hash is known only where there is none. */
const startOf = (range: Range): Before | undefined => {
  if ('last' in range) return undefined;
  return range.after === 0 ? { sequence: 0, hash: firstPreviousHash } : { sequence: range.after };
};

const isNext = (before: Before, { sequence, previousHash }: Entry): boolean =>
  sequence === before.sequence + 1 && (before.hash === undefined || equalBytes(before.hash, previousHash));

function onlyReading(plaintext: Uint8Array, { id }: VerifiedCertificate): Reading {
  const { meterId, readings } = decodeSenml(plaintext);
  const [reading] = readings;
  if (meterId !== id || !reading)
    throw new VerificationError('reading-of-another', 'a reading that names another meter');
  return reading;
}

function itemsOf(answer: unknown, name: string): readonly unknown[] {
  const items: unknown = Array.isArray(answer) ? answer : (answer as Record<string, unknown> | null)?.[name];
  if (!Array.isArray(items)) throw new MalformedError('message-malformed', `the backend gave no list of ${name}`);
  return items;
}

const messagesOf = (answer: unknown, name = 'readings'): readonly Uint8Array[] => itemsOf(answer, name).map(messageOf);

function messageOf(item: unknown): Uint8Array {
  const message: unknown = (item as { readonly message?: unknown } | null)?.message;
  if (typeof message !== 'string') throw new MalformedError('message-malformed', 'the backend gave no message');
  return fromBase64Url(message);
}
