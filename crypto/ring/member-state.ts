/**
 * What a member knows of one group: one type per state of its round, and the part of it that goes to disk.
 * The ephemeral never does: a member that crashes between rounds waits for the next attempt (protocol §6).
 */
import { concatBytes } from '../bytes.js';
import { decodeStrict, encode, type CborItem } from '../cbor.js';
import { MalformedError } from '../errors.js';
import { arrayOf, booleanOf, bytesOf, nullOr, uint32Max, uintOf } from '../fields.js';
import { limits } from '../limits.js';
import type { ListOrder } from '../membership.js';
import type { AgreementKey } from '../suite.js';
import type { Announcement, Token } from './messages.js';
import type { Ring } from './roster.js';
import type { EpochKeys, KeyName } from './schedule.js';

export interface Attempt {
  readonly epoch: number;
  readonly attempt: number;
}

/** A key that only opens what others sealed under it, until its grace period has passed. */
export interface PreviousKey {
  readonly sid: Uint8Array;
  readonly name: KeyName;
  readonly groupKey: Uint8Array;
  readonly groupSeed: Uint8Array;
  readonly exporter: Uint8Array;
  readonly groupPublicKey: Uint8Array;
  readonly listHash: Uint8Array;
  readonly sinceS: number;
  /** True under the constrained profile until the backend has verified and signed the record (protocol §5). */
  readonly provisional: boolean;
}

/** Bytes of a certHash that tell the members of one roster apart. */
const memberRefBytes = 4;
export const memberRef = (certHash: Uint8Array): Uint8Array => certHash.slice(0, memberRefBytes);

/** An epoch key that every member of the roster has confirmed. */
export interface EpochKey extends PreviousKey {
  /** Members in ring order, by `memberRef`: lists change while a key is in use, and with them the indices of entries. */
  readonly roster: readonly Uint8Array[];
  /** A member of the roster has left the list: from then on nothing is sealed under this key. */
  readonly receiveOnly: boolean;
}

interface AnsweredAnnouncement {
  readonly annId: Uint8Array;
  readonly announcement: Announcement;
  readonly shareReply: Uint8Array;
}

interface Ephemeral {
  readonly secret: Uint8Array;
  readonly key: AgreementKey;
  readonly opening: Uint8Array;
  readonly commitment: Uint8Array;
}

interface Idle {
  readonly kind: 'idle';
}

export interface Shared extends AnsweredAnnouncement, Ephemeral {
  readonly kind: 'shared';
}

interface InSession extends AnsweredAnnouncement, Ephemeral {
  readonly ring: Ring;
  readonly index: number;
  readonly rosterPayload: Uint8Array;
  readonly token: Token;
  readonly tokenReply: Uint8Array;
  readonly leftEdge: Uint8Array;
  readonly rightEdge: Uint8Array;
}

export interface TokenSent extends InSession {
  readonly kind: 'tokenSent';
}

/** The tokens did not add up. Ephemeral and edges are kept for one checked reveal, and only in memory. */
export interface Aborted extends InSession {
  readonly kind: 'aborted';
  readonly abortReply: Uint8Array;
}

/** The ephemeral was shown and is forgotten; who asks again in the same words gets the same answer, as long as the process lives. */
interface Revealed {
  readonly kind: 'revealed';
  readonly annId: Uint8Array;
  readonly announcement: Announcement;
  /** Of the token bundle that it was shown against. */
  readonly tokensPayload: Uint8Array;
  readonly revealReply: Uint8Array;
}

/** Keyed and waiting for everybody's confirmation: the key is pending, it protects and accepts nothing. */
export interface Confirmed {
  readonly kind: 'confirmed';
  readonly annId: Uint8Array;
  readonly sid: Uint8Array;
  readonly th1: Uint8Array;
  readonly name: KeyName;
  readonly keys: EpochKeys;
  readonly listHash: Uint8Array;
  readonly roster: readonly number[];
  readonly index: number;
  readonly confirmationReply: Uint8Array;
}

export type Round = Idle | Shared | TokenSent | Aborted | Revealed | Confirmed;

export const holdsEphemeral = (round: Round): round is Shared | TokenSent | Aborted =>
  round.kind === 'shared' || round.kind === 'tokenSent' || round.kind === 'aborted';

export interface MemberState {
  readonly gid: Uint8Array;
  /** The highest (epoch, attempt) that was answered; on disk before the answer leaves (protocol §1, rule 5). */
  readonly highWater: Attempt;
  /** The newest list that was taken: none that comes before it is taken again, nor another of the same order. */
  readonly newestList: ListOrder & { readonly listHash: Uint8Array };
  /** The last session that this member aborted: it may reveal there and confirms there never again. */
  readonly tombstone: Uint8Array | null;
  readonly round: Round;
  readonly active: EpochKey | null;
  /** Only receives, until the grace period has passed. */
  readonly previous: { readonly key: PreviousKey; readonly untilS: number } | null;
}

export const newMemberState = (gid: Uint8Array): MemberState => ({
  gid,
  highWater: { epoch: 0, attempt: 0 },
  newestList: { version: 0, revision: 0, listHash: new Uint8Array(32) },
  tombstone: null,
  round: { kind: 'idle' },
  active: null,
  previous: null,
});

const formatVersion = 2;

/** The persistent part, as CBOR: a round before its confirmation is left out. */
export const encodeMemberState = (state: MemberState): Uint8Array =>
  encode([
    formatVersion,
    state.gid,
    state.highWater.epoch,
    state.highWater.attempt,
    [state.newestList.version, state.newestList.revision, state.newestList.listHash],
    state.tombstone,
    state.round.kind === 'confirmed' ? confirmedItem(state.round) : null,
    state.active && epochKeyItem(state.active),
    state.previous && [previousKeyItem(state.previous.key), state.previous.untilS],
  ]);

/** @throws MalformedError when the bytes are not a state of this version */
export function decodeMemberState(bytes: Uint8Array): MemberState {
  const what = 'stored member state';
  const [version, id, epoch, attempt, newestList, tombstone, confirmed, active, previous] = arrayOf(
    decodeStrict(bytes, limits.bundle),
    what,
    9,
  );
  if (version !== formatVersion) throw new MalformedError('state-version', 'member state of another version');
  const gid = bytesOf(id, what, 16);
  return {
    gid,
    highWater: { epoch: uintOf(epoch, what), attempt: uintOf(attempt, what) },
    newestList: parseNewestList(newestList),
    tombstone: nullOr(tombstone, (sid) => bytesOf(sid, what, 32)),
    round: nullOr(confirmed, (item) => parseConfirmed(item, gid)) ?? { kind: 'idle' },
    active: nullOr(active, (item) => parseEpochKey(item, gid)),
    previous: nullOr(previous, (item) => {
      const [key, untilS] = arrayOf(item, what, 2);
      return { key: parsePreviousKey(key, gid), untilS: uintOf(untilS, what, 2 * uint32Max) };
    }),
  };
}

function parseNewestList(item: CborItem | undefined): MemberState['newestList'] {
  const what = 'stored order of a list';
  const [version, revision, listHash] = arrayOf(item, what, 3);
  return {
    version: uintOf(version, what),
    revision: uintOf(revision, what),
    listHash: bytesOf(listHash, what, 32),
  };
}

/** The group is that of the state. */
const nameItem = ({ epoch, attempt, th2 }: KeyName): CborItem => [epoch, attempt, th2];

function parseName(item: CborItem | undefined, gid: Uint8Array): KeyName {
  const [epoch, attempt, th2] = arrayOf(item, 'key name', 3);
  return {
    gid,
    epoch: uintOf(epoch, 'key name'),
    attempt: uintOf(attempt, 'key name'),
    th2: bytesOf(th2, 'key name', 32),
  };
}

const epochKeyItem = (key: EpochKey): CborItem => [previousKeyItem(key), concatBytes(...key.roster), key.receiveOnly];

function parseEpochKey(item: CborItem | undefined, gid: Uint8Array): EpochKey {
  const what = 'stored epoch key';
  const [key, roster, receiveOnly] = arrayOf(item, what, 3);
  const refs = bytesOf(roster, what);
  return {
    ...parsePreviousKey(key, gid),
    roster: Array.from({ length: refs.length / memberRefBytes }, (_, i) =>
      memberRef(refs.subarray(i * memberRefBytes)),
    ),
    receiveOnly: booleanOf(receiveOnly, what),
  };
}

const previousKeyItem = (key: PreviousKey): CborItem => [
  key.sid,
  nameItem(key.name),
  key.groupKey,
  key.groupSeed,
  key.exporter,
  key.groupPublicKey,
  key.listHash,
  key.sinceS,
  key.provisional,
];

function parsePreviousKey(item: CborItem | undefined, gid: Uint8Array): PreviousKey {
  const what = 'stored epoch key';
  const [sid, name, groupKey, groupSeed, exporter, groupPublicKey, listHash, sinceS, provisional] = arrayOf(
    item,
    what,
    9,
  );
  return {
    sid: bytesOf(sid, what, 32),
    name: parseName(name, gid),
    groupKey: bytesOf(groupKey, what, 32),
    groupSeed: bytesOf(groupSeed, what, 32),
    exporter: bytesOf(exporter, what, 32),
    groupPublicKey: bytesOf(groupPublicKey, what, 32, 65),
    listHash: bytesOf(listHash, what, 32),
    sinceS: uintOf(sinceS, what),
    provisional: booleanOf(provisional, what),
  };
}

const confirmedItem = (round: Confirmed): CborItem => [
  round.annId,
  round.sid,
  round.th1,
  nameItem(round.name),
  [
    round.keys.groupKey,
    round.keys.confirmationKey,
    round.keys.groupSeed,
    round.keys.exporter,
    round.keys.groupPublicKey,
  ],
  round.listHash,
  round.roster,
  round.index,
  round.confirmationReply,
];

function parseConfirmed(item: CborItem | undefined, gid: Uint8Array): Confirmed {
  const what = 'stored confirmation';
  const [annId, sid, th1, name, keys, listHash, roster, index, confirmationReply] = arrayOf(item, what, 9);
  const [groupKey, confirmationKey, groupSeed, exporter, groupPublicKey] = arrayOf(keys, what, 5);
  return {
    kind: 'confirmed',
    annId: bytesOf(annId, what, 32),
    sid: bytesOf(sid, what, 32),
    th1: bytesOf(th1, what, 32),
    name: parseName(name, gid),
    keys: {
      groupKey: bytesOf(groupKey, what, 32),
      confirmationKey: bytesOf(confirmationKey, what, 32),
      groupSeed: bytesOf(groupSeed, what, 32),
      exporter: bytesOf(exporter, what, 32),
      groupPublicKey: bytesOf(groupPublicKey, what, 32, 65),
    },
    listHash: bytesOf(listHash, what, 32),
    roster: arrayOf(roster, what).map((entry) => uintOf(entry, what)),
    index: uintOf(index, what),
    confirmationReply: bytesOf(confirmationReply, what),
  };
}

/** Every secret of a round, to be overwritten once the state that follows is on disk. */
export function secretsOf(round: Round): readonly Uint8Array[] {
  switch (round.kind) {
    case 'idle':
    case 'revealed':
      return [];
    case 'shared':
      return [round.secret, round.opening];
    case 'tokenSent':
    case 'aborted':
      return [round.secret, round.leftEdge, round.rightEdge];
    case 'confirmed':
      return [round.keys.groupKey, round.keys.confirmationKey, round.keys.groupSeed, round.keys.exporter];
    default:
      return round satisfies never;
  }
}
