/**
 * A meter's sealing of its readings as pure steps (protocol §8): one random reading key per epoch, and whenever the
 * policy's readers change; a sequence that never resets; each envelope holds the hash of the one before.
 */
import { equalBytes } from '../bytes.js';
import { decodeStrict, encode } from '../cbor.js';
import { MalformedError } from '../errors.js';
import { arrayOf, bytesOf, nullOr, uintOf } from '../fields.js';
import { limits } from '../limits.js';
import type { Membership } from '../membership.js';
import type { KeyName } from '../ring/schedule.js';
import type { Random, Signer, Suite } from '../suite.js';
import { makeGrant } from './grant.js';
import { firstPreviousHash, sealReading } from './reading.js';
import { encodeSenml, joulesPerWh, toJoules, type Reading } from './senml.js';

export interface SealingState {
  /** The reading key in use, the epoch and the list that it was granted under. */
  readonly key: { readonly name: KeyName; readonly listHash: Uint8Array; readonly readingKey: Uint8Array } | null;
  readonly nextSequence: number;
  readonly previousHash: Uint8Array;
  /** Where the source of readings goes on. */
  readonly lastReading: Pick<Reading, 'timeS' | 'energyTotalWh'> | null;
}

export const newSealingState: SealingState = {
  key: null,
  nextSequence: 1,
  previousHash: firstPreviousHash,
  lastReading: null,
};

export interface SealingContext {
  readonly suite: Suite;
  readonly self: {
    readonly id: string;
    readonly certHash: Uint8Array;
    readonly kid: Uint8Array;
    readonly signer: Signer;
  };
  readonly membership: Membership;
  /** Name of the active epoch key. */
  readonly activeKey: KeyName;
  readonly random: Random;
}

export interface SealingStep {
  readonly state: SealingState;
  /** To be kept together with the state, then sent in this order. */
  readonly items: readonly { readonly kind: 'grant' | 'reading'; readonly message: Uint8Array }[];
  readonly consumed: readonly Uint8Array[];
}

/** Seals one reading; where the epoch or the list is new, a fresh key and its grants come first. */
export function seal(context: SealingContext, state: SealingState, reading: Reading): SealingStep {
  const { suite, self } = context;
  const fresh = isCurrent(context, state) ? null : freshKey(context);
  const key = fresh?.key ?? state.key;
  if (!key) throw new TypeError('a key that is current exists');
  const plaintext = encodeSenml({ meterId: self.id, readings: [reading] });
  const { nextSequence: sequence, previousHash } = state;
  const { envelope, hash } = sealReading(suite, self, key, { sequence, previousHash }, plaintext);
  const { timeS, energyTotalWh } = reading;
  return {
    state: { key, nextSequence: sequence + 1, previousHash: hash, lastReading: { timeS, energyTotalWh } },
    items: [
      ...(fresh?.grants ?? []).map((message) => ({ kind: 'grant', message }) as const),
      { kind: 'reading', message: envelope },
    ],
    consumed: fresh && state.key ? [state.key.readingKey] : [],
  };
}

function isCurrent({ activeKey, membership }: SealingContext, { key }: SealingState): boolean {
  return key !== null && equalBytes(key.name.th2, activeKey.th2) && equalBytes(key.listHash, membership.listHash);
}

function freshKey({ suite, self, membership, activeKey: name, random }: SealingContext) {
  const readingKey = random(suite.aeadKeyBytes);
  const grants = readersOf(membership, self.certHash).map((reader) =>
    makeGrant(suite, { name, meter: self, reader, readingKey }, random),
  );
  return { key: { name, listHash: membership.listHash, readingKey }, grants };
}

/** Who may read a meter's readings: readers of the signed policy whose key stands in the list. */
export function readersOf(
  { list }: Membership,
  meter: Uint8Array,
): readonly { readonly certHash: Uint8Array; readonly hpkeKey: Uint8Array }[] {
  return list.policy.readings
    .filter(({ meters }) => meters === null || meters.some((certHash) => equalBytes(certHash, meter)))
    .flatMap(({ reader }) => {
      const entry = list.entries.find(({ certHash }) => equalBytes(certHash, reader));
      return entry?.hpkeKey ? [{ certHash: entry.certHash, hpkeKey: entry.hpkeKey }] : [];
    });
}

const formatVersion = 1;

export const encodeSealingState = ({ key, nextSequence, previousHash, lastReading }: SealingState): Uint8Array =>
  encode([
    formatVersion,
    key && [key.name.gid, key.name.epoch, key.name.attempt, key.name.th2, key.listHash, key.readingKey],
    nextSequence,
    previousHash,
    lastReading && [lastReading.timeS, toJoules(lastReading.energyTotalWh)],
  ]);

/** @throws MalformedError when the bytes are not a state of this version */
export function decodeSealingState(bytes: Uint8Array): SealingState {
  const what = 'stored sealing state';
  const [version, key, nextSequence, previousHash, last] = arrayOf(decodeStrict(bytes, limits.envelope), what, 5);
  if (version !== formatVersion) throw new MalformedError('state-version', 'sealing state of another version');
  return {
    key: nullOr(key, (item) => {
      const [gid, epoch, attempt, th2, listHash, readingKey] = arrayOf(item, what, 6);
      return {
        name: {
          gid: bytesOf(gid, what, 16),
          epoch: uintOf(epoch, what),
          attempt: uintOf(attempt, what),
          th2: bytesOf(th2, what, 32),
        },
        listHash: bytesOf(listHash, what, 32),
        readingKey: bytesOf(readingKey, what, 16, 32),
      };
    }),
    nextSequence: uintOf(nextSequence, what, Number.MAX_SAFE_INTEGER, 1),
    previousHash: bytesOf(previousHash, what, 32),
    lastReading: nullOr(last, (item) => {
      const [timeS, joules] = arrayOf(item, what, 2);
      return {
        timeS: uintOf(timeS, what),
        energyTotalWh: uintOf(joules, what, Number.MAX_SAFE_INTEGER) / joulesPerWh,
      };
    }),
  };
}
