/**
 * What a member knows of one group: one type per state of its round, and the part of it that goes to disk.
 * The ephemeral never does: a member that crashes between rounds waits for the next attempt (protocol §6).
 */
import { decodeStrict, encode, type CborItem } from '../cbor.js';
import { MalformedError } from '../errors.js';
import { arrayOf, booleanOf, bytesOf, nullOr, uint32Max, uintOf } from '../fields.js';
import { limits } from '../limits.js';
import type { AgreementKey } from '../suite.js';
import type { Announcement, Token } from './messages.js';
import type { Ring } from './roster.js';
import type { EpochKeys, KeyName } from './schedule.js';

export interface Attempt {
  readonly epoch: number;
  readonly attempt: number;
}

/** An epoch key that every member of the roster has confirmed. */
export interface EpochKey {
  readonly sid: Uint8Array;
  readonly name: KeyName;
  readonly groupKey: Uint8Array;
  readonly groupSeed: Uint8Array;
  readonly exporter: Uint8Array;
  readonly groupPublicKey: Uint8Array;
  readonly listHash: Uint8Array;
  /** Members in ring order, as indices of the list. */
  readonly roster: readonly number[];
  readonly sinceS: number;
  /** True under the constrained profile until the backend has verified and signed the record (protocol §5). */
  readonly provisional: boolean;
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

export type Round = Idle | Shared | TokenSent | Aborted | Confirmed;

export interface MemberState {
  readonly gid: Uint8Array;
  /** The highest (epoch, attempt) that was answered; on disk before the answer leaves (protocol §1, rule 5). */
  readonly highWater: Attempt;
  readonly listVersion: number;
  /** The last session that this member aborted: it may reveal there and confirms there never again. */
  readonly tombstone: Uint8Array | null;
  readonly round: Round;
  readonly active: EpochKey | null;
  /** Only receives, until the grace period has passed. */
  readonly previous: { readonly key: EpochKey; readonly untilS: number } | null;
}

export const newMemberState = (gid: Uint8Array): MemberState => ({
  gid,
  highWater: { epoch: 0, attempt: 0 },
  listVersion: 0,
  tombstone: null,
  round: { kind: 'idle' },
  active: null,
  previous: null,
});

const formatVersion = 1;

/** The persistent part, as CBOR: a round before its confirmation is left out. */
export const encodeMemberState = (state: MemberState): Uint8Array =>
  encode([
    formatVersion,
    state.gid,
    state.highWater.epoch,
    state.highWater.attempt,
    state.listVersion,
    state.tombstone,
    state.round.kind === 'confirmed' ? confirmedItem(state.round) : null,
    state.active && epochKeyItem(state.active),
    state.previous && [epochKeyItem(state.previous.key), state.previous.untilS],
  ]);

/** @throws MalformedError when the bytes are not a state of this version */
export function decodeMemberState(bytes: Uint8Array): MemberState {
  const what = 'stored member state';
  const [version, gid, epoch, attempt, listVersion, tombstone, confirmed, active, previous] = arrayOf(
    decodeStrict(bytes, limits.bundle),
    what,
    9,
  );
  if (version !== formatVersion) throw new MalformedError('state-version', 'member state of another version');
  return {
    gid: bytesOf(gid, what, 16),
    highWater: { epoch: uintOf(epoch, what), attempt: uintOf(attempt, what) },
    listVersion: uintOf(listVersion, what),
    tombstone: nullOr(tombstone, (sid) => bytesOf(sid, what, 32)),
    round: nullOr(confirmed, parseConfirmed) ?? { kind: 'idle' },
    active: nullOr(active, parseEpochKey),
    previous: nullOr(previous, (item) => {
      const [key, untilS] = arrayOf(item, what, 2);
      return { key: parseEpochKey(key), untilS: uintOf(untilS, what, 2 * uint32Max) };
    }),
  };
}

const nameItem = ({ gid, epoch, attempt, th2 }: KeyName): CborItem => [gid, epoch, attempt, th2];

function parseName(item: CborItem | undefined): KeyName {
  const [gid, epoch, attempt, th2] = arrayOf(item, 'key name', 4);
  return {
    gid: bytesOf(gid, 'key name', 16),
    epoch: uintOf(epoch, 'key name'),
    attempt: uintOf(attempt, 'key name'),
    th2: bytesOf(th2, 'key name', 32),
  };
}

const epochKeyItem = (key: EpochKey): CborItem => [
  key.sid,
  nameItem(key.name),
  key.groupKey,
  key.groupSeed,
  key.exporter,
  key.groupPublicKey,
  key.listHash,
  key.roster,
  key.sinceS,
  key.provisional,
];

function parseEpochKey(item: CborItem | undefined): EpochKey {
  const what = 'stored epoch key';
  const [sid, name, groupKey, groupSeed, exporter, groupPublicKey, listHash, roster, sinceS, provisional] = arrayOf(
    item,
    what,
    10,
  );
  return {
    sid: bytesOf(sid, what, 32),
    name: parseName(name),
    groupKey: bytesOf(groupKey, what, 32),
    groupSeed: bytesOf(groupSeed, what, 32),
    exporter: bytesOf(exporter, what, 32),
    groupPublicKey: bytesOf(groupPublicKey, what, 32, 65),
    listHash: bytesOf(listHash, what, 32),
    roster: arrayOf(roster, what).map((index) => uintOf(index, what)),
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

function parseConfirmed(item: CborItem | undefined): Confirmed {
  const what = 'stored confirmation';
  const [annId, sid, th1, name, keys, listHash, roster, index, confirmationReply] = arrayOf(item, what, 9);
  const [groupKey, confirmationKey, groupSeed, exporter, groupPublicKey] = arrayOf(keys, what, 5);
  return {
    kind: 'confirmed',
    annId: bytesOf(annId, what, 32),
    sid: bytesOf(sid, what, 32),
    th1: bytesOf(th1, what, 32),
    name: parseName(name),
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
