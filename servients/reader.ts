/** A reader: fetches ciphertext from the backend, verifies who sealed it, and opens what was granted to its key. */
import { equalBytes, toHex } from '../crypto/bytes.js';
import type { VerifiedCertificate } from '../crypto/certificate.js';
import { firstPreviousHash } from '../crypto/envelope/chain.js';
import { signerIn, verifyEntryOf, type Entry } from '../crypto/envelope/entry.js';
import { openGrant, parseGrant, verifyGrant } from '../crypto/envelope/grant.js';
import { openReading, type SealedReading } from '../crypto/envelope/reading.js';
import { decodeSenml, type Reading } from '../crypto/envelope/senml.js';
import { VerificationError } from '../crypto/errors.js';
import { lineWith } from '../crypto/membership.js';
import { ChainClient, placeOf, type ListedMeter, type MeterListing } from './chain-client.js';
import type { ReaderKeys } from './reader-file.js';
import { systemNowS } from './runtime.js';

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

export class Reader {
  readonly #keys: ReaderKeys;
  readonly #chains: ChainClient;
  /** Reading keys by meter, then by H(rk, key) in hex. */
  readonly #readingKeys = new Map<string, Map<string, Uint8Array>>();

  constructor(keys: ReaderKeys) {
    this.#keys = keys;
    this.#chains = new ChainClient(keys, systemNowS);
  }

  /** The meters that the policy lets this reader read. @throws PeerRefusal, UnavailableError */
  meters(): Promise<readonly MeterListing[]> {
    return this.#chains.meters();
  }

  /**
   * Fetches, verifies and opens readings of a meter, ascending by sequence.
   * @throws PeerRefusal `meter-unknown`, UnavailableError, VerificationError when an envelope does not verify
   */
  async read(meterId: string, range: Range): Promise<FetchedReadings> {
    const meter = await this.#chains.meter(meterId);
    const opened: OpenedReading[] = [];
    let [closed, breaks] = [0, 0];
    let before = startOf(range);
    for (const entry of await this.#fetch(meterId, meter, range)) {
      const follows = before === undefined || follow(before, entry, 'last' in range);
      if (!follows) breaks += 1;
      before = entry;
      if (entry.kind !== 'reading') continue;
      const reading = await this.#open(meterId, meter, entry);
      if (reading) opened.push({ sequence: entry.sequence, epoch: entry.epoch, reading, follows });
      else closed += 1;
    }
    return { opened, closed, breaks, lastSequence: before?.sequence ?? 0 };
  }

  /** Undefined where no grant opens it. */
  async #open(meterId: string, meter: ListedMeter, sealed: SealedReading): Promise<Reading | undefined> {
    const key = await this.#readingKey(meterId, meter, sealed.keyHash);
    return key && onlyReading(openReading(this.#keys.suite, key, sealed), meter.certificate);
  }

  async #fetch(meterId: string, { line }: ListedMeter, range: Range): Promise<readonly Entry[]> {
    if ('last' in range) {
      const messages = await this.#chains.messages(meterId, `readings?last=${range.last}`, 'readings');
      const entries = messages.map((message) => verifyEntryOf(this.#keys.suite, line, message));
      const places = entries.map((entry) => placeOf(entry, line));
      if (places.every((place, i) => place >= (places[i - 1] ?? 0))) return entries;
      throw new VerificationError('chain-order', 'the backend gave entries out of order');
    }
    const all: Entry[] = [];
    for await (const { entry } of this.#chains.entries(meterId, range.after)) all.push(entry);
    return all;
  }

  /** Grants are fetched again when a reading names a key that none of them gave. */
  async #readingKey(
    meterId: string,
    { line, membership: { list } }: ListedMeter,
    keyHash: Uint8Array,
  ): Promise<Uint8Array | undefined> {
    const known = this.#readingKeys.get(meterId)?.get(toHex(keyHash));
    if (known) return known;
    const { suite, hpkeKey } = this.#keys;
    const { certHash } = this.#keys.certificate;
    const own = lineWith(list, certHash) ?? [certHash];
    const keys = new Map<string, Uint8Array>();
    for (const message of await this.#chains.messages(meterId, 'grants', 'grants')) {
      const grant = verifyGrant(suite, signerIn(line, parseGrant(message).meter, 'grant'), message);
      // What was granted to it under a certificate that it had before, it opens with the same key.
      const reader = own.find((each) => equalBytes(each, grant.reader)) ?? certHash;
      keys.set(toHex(grant.keyHash), openGrant(suite, { certHash: reader, hpkeKey }, grant));
    }
    this.#readingKeys.set(meterId, keys);
    return keys.get(toHex(keyHash));
  }
}

type Before = { readonly sequence: number; readonly hash?: Uint8Array };

/** Of the entry before the first its hash is known only where there is none. */
const startOf = (range: Range): Before | undefined => {
  if ('last' in range) return undefined;
  return range.after === 0 ? { sequence: 0, hash: firstPreviousHash } : { sequence: range.after };
};

/** Readings alone may have others of their chain between them. */
const follow = (before: Before, { sequence, previousHash }: Entry, areReadingsAlone: boolean): boolean =>
  sequence === before.sequence + 1
    ? before.hash === undefined || equalBytes(before.hash, previousHash)
    : areReadingsAlone && sequence > before.sequence;

function onlyReading(plaintext: Uint8Array, { id }: VerifiedCertificate): Reading {
  const { meterId, readings } = decodeSenml(plaintext);
  const [reading] = readings;
  if (meterId !== id || !reading)
    throw new VerificationError('reading-of-another', 'a reading that names another meter');
  return reading;
}
