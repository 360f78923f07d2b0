/**
 * Who is left out of a group's next attempts: members that keep answering round 1 and then go silent, for a time that
 * doubles, and members that a verdict convicted, until there is a newer membership list. Dropping out proves nothing, for
 * the network may be at fault, so it always has a way back. One value for each group; the time is an argument, and
 * whoever keeps it saves it after every change.
 */
import { equalBytes, toHex } from '../crypto/bytes.js';
import { decodeStrict, encode } from '../crypto/cbor.js';
import { MalformedError } from '../crypto/errors.js';
import { arrayOf, bytesOf, nullOr, uint32Max, uintOf } from '../crypto/fields.js';
import { limits } from '../crypto/limits.js';
import { findEntry, isQuorum, type MembershipList } from '../crypto/membership.js';
import type { EpochReport } from './epoch-run.js';

interface Standing {
  readonly member: Uint8Array;
  /** Attempts in a row that it dropped out of; an epoch with it in the roster ends the row. */
  readonly dropouts: number;
  /** Left out until then, in seconds; 0 for nothing. */
  readonly untilS: number;
  /** Version of the membership list in force when a verdict convicted it. */
  readonly convictedUnder: number | null;
}

/** By certHash in hex. */
export type Quarantine = ReadonlyMap<string, Standing>;

/** Why and how long a member is left out. */
export type Exclusion =
  | { readonly reason: 'dropouts'; readonly dropouts: number; readonly untilS: number }
  | { readonly reason: 'convicted'; readonly listVersion: number };

export const emptyQuarantine: Quarantine = new Map();

/** One drop-out is bad luck. From the second in a row on: five minutes, ten, twenty, … six hours. */
const toleratedDropouts = 1;
const firstS = 300;
const longestS = 21_600;
/** Who enrols afresh has started again and is there: that ends the waiting, but not for who drops out for ever. */
const forgivenDropouts = 3;

/**
 * Counts an attempt that has ended. When fewer came through it than dropped out, it was the coordinator's own way to them
 * that failed, and nobody is blamed. Members that the list no longer names are forgotten.
 */
export function afterAttempt(
  quarantine: Quarantine,
  { agreed, faithful, dropouts }: EpochReport,
  list: MembershipList,
  nowS: number,
): Quarantine {
  const next = new Map([...quarantine].filter(([, { member }]) => findEntry(list, member, 'member')));
  for (const member of agreed ? faithful : []) {
    const standing = next.get(toHex(member));
    if (standing && standing.convictedUnder === null) next.delete(toHex(member));
    else if (standing) next.set(toHex(member), { ...standing, dropouts: 0, untilS: 0 });
  }
  if (dropouts.length > faithful.length) return next;
  for (const { member } of dropouts) {
    const standing = standingOf(next, member);
    const inRow = standing.dropouts + 1;
    const forS = Math.min(firstS * 2 ** (inRow - toleratedDropouts - 1), longestS);
    next.set(toHex(member), { ...standing, dropouts: inRow, untilS: inRow > toleratedDropouts ? nowS + forS : 0 });
  }
  return next;
}

/** Who is convicted by a verdict that was verified is out until a newer list than this, or until it is released. */
export function afterVerdict(
  quarantine: Quarantine,
  accused: readonly Uint8Array[],
  { version }: MembershipList,
): Quarantine {
  const next = new Map(quarantine);
  for (const member of accused) next.set(toHex(member), { ...standingOf(quarantine, member), convictedUnder: version });
  return next;
}

/** A fresh enrolment ends the waiting of who has not dropped out too often; the row of drop-outs goes on. */
export function afterEnrolment(quarantine: Quarantine, member: Uint8Array): Quarantine {
  const standing = quarantine.get(toHex(member));
  if (!standing || standing.dropouts > forgivenDropouts) return quarantine;
  return new Map(quarantine).set(toHex(member), { ...standing, untilS: 0 });
}

/** An operator lets a member in again, whatever was against it. */
export function release(quarantine: Quarantine, member: Uint8Array): Quarantine {
  const next = new Map(quarantine);
  next.delete(toHex(member));
  return next;
}

/**
 * Who is to be left out now, by certHash in hex. `expected` are the members that would take part otherwise (their reach
 * is callable or awaited): they are never taken below the quorum of rule 6, the policy's least number, or a required
 * member. Then the convicted are the last to be tried again, before them whoever has longest to wait.
 */
export function exclusions(
  quarantine: Quarantine,
  list: MembershipList,
  expected: readonly Uint8Array[],
  nowS: number,
): ReadonlyMap<string, Exclusion> {
  const candidates = expected
    .flatMap((member) => {
      const exclusion = exclusionOf(standingOf(quarantine, member), list, nowS);
      return exclusion ? [{ member, exclusion }] : [];
    })
    .sort((a, b) => weightOf(b.exclusion) - weightOf(a.exclusion));
  const out = new Map<string, Exclusion>();
  let left = expected;
  for (const { member, exclusion } of candidates) {
    const without = left.filter((other) => !equalBytes(other, member));
    if (!isQuorum(list, without)) continue;
    left = without;
    out.set(toHex(member), exclusion);
  }
  return out;
}

/** A time further ahead than any quarantine comes from a clock that was wrong. */
function exclusionOf(
  { dropouts, untilS, convictedUnder }: Standing,
  { version }: MembershipList,
  nowS: number,
): Exclusion | undefined {
  if (convictedUnder !== null && version <= convictedUnder) return { reason: 'convicted', listVersion: convictedUnder };
  return untilS > nowS && untilS <= nowS + longestS ? { reason: 'dropouts', dropouts, untilS } : undefined;
}

const weightOf = (exclusion: Exclusion): number =>
  exclusion.reason === 'convicted' ? uint32Max + 1 : exclusion.untilS;

const standingOf = (quarantine: Quarantine, member: Uint8Array): Standing =>
  quarantine.get(toHex(member)) ?? { member, dropouts: 0, untilS: 0, convictedUnder: null };

const formatVersion = 1;

/** For the store. */
export const encodeQuarantine = (quarantine: Quarantine): Uint8Array =>
  encode([
    formatVersion,
    [...quarantine.values()].map(({ member, dropouts, untilS, convictedUnder }) => [
      member,
      dropouts,
      untilS,
      convictedUnder,
    ]),
  ]);

/** @throws MalformedError `state-version`, `message-malformed` and those of the CBOR gate */
export function decodeQuarantine(bytes: Uint8Array): Quarantine {
  const what = 'stored quarantine';
  const [version, standings] = arrayOf(decodeStrict(bytes, limits.membership), what, 2);
  if (version !== formatVersion) throw new MalformedError('state-version', 'a quarantine of another version');
  return new Map(
    arrayOf(standings, what).map((item) => {
      const [certHash, dropouts, untilS, convictedUnder] = arrayOf(item, what, 4);
      const member = bytesOf(certHash, what, 32);
      return [
        toHex(member),
        {
          member,
          dropouts: uintOf(dropouts, what),
          untilS: uintOf(untilS, what),
          convictedUnder: nullOr(convictedUnder, (under) => uintOf(under, what, uint32Max, 1)),
        },
      ];
    }),
  );
}
