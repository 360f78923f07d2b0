/** What an insider or a dishonest coordinator can make: validly signed messages with any content; and how it is refused. */
import { expect } from 'vitest';
import { equalBytes, toHex } from '../../crypto/bytes.js';
import { parseSign1, sign1 } from '../../crypto/cose.js';
import { GridringError } from '../../crypto/errors.js';
import { limits } from '../../crypto/limits.js';
import type { Membership } from '../../crypto/membership.js';
import type { CollectingConfirmations, CollectingTokens, Published } from '../../crypto/ring/coordinator-state.js';
import type { MemberContext } from '../../crypto/ring/member-context.js';
import type { MemberState } from '../../crypto/ring/member-state.js';
import {
  contextOf,
  encodeConfirmation,
  encodeConfirmationBundle,
  encodeRosterBundle,
  encodeToken,
  encodeTokenBundle,
  parseConfirmation,
  parseConfirmationBundle,
  parseRosterBundle,
  parseToken,
  parseTokenBundle,
  type ConfirmationEntry,
  type MessageType,
  type RosterEntry,
  type Token,
  type TokenEntry,
} from '../../crypto/ring/messages.js';
import type { Ring } from '../../crypto/ring/roster.js';
import { inRingOrder } from '../../crypto/ring/schedule.js';
import { suiteP256, suiteX25519 } from '../../crypto/suite-node.js';
import type { Suite } from '../../crypto/suite.js';
import { makeNeighbourhood, type Neighbourhood, type Principal } from './neighbourhood.js';
import type { MemberRound, Player } from './ring.js';

export const suites = [suiteX25519, suiteP256] as const;

const neighbourhoods = new Map<string, Neighbourhood>();

/** Made once for each suite and size: certificates are what costs. */
export function neighbourhoodOf(suite: Suite, meterCount: number): Neighbourhood {
  const key = `${suite.name}/${String(meterCount)}`;
  const known = neighbourhoods.get(key) ?? makeNeighbourhood(suite, meterCount);
  neighbourhoods.set(key, known);
  return known;
}

type Signing = Pick<Principal, 'kid' | 'signer'>;

export const signAs = (
  suite: Suite,
  { signer, kid }: Signing,
  type: MessageType,
  context: Uint8Array,
  payload: Uint8Array,
): Uint8Array => sign1(suite, signer, kid, contextOf(type, context), payload);

export const payloadOf = (message: Uint8Array): Uint8Array => parseSign1(message, limits.bundle).payload;
export const signatureOf = (message: Uint8Array): Uint8Array => parseSign1(message, limits.bundle).signature;

/** The item at `i`, which the test knows to be there. @throws RangeError when it is not */
export function at<T>(items: readonly T[], i: number): T {
  const item = items[i];
  if (item === undefined) throw new RangeError(`nothing at ${i}`);
  return item;
}

export const replaced = <T>(items: readonly T[], i: number, change: (item: T) => T): readonly T[] =>
  items.map((item, j) => (j === i ? change(item) : item));

export const flipped = (bytes: Uint8Array, bit = 0): Uint8Array =>
  bytes.map((byte, i) => (i === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));

/** Players by their position in the ring. */
export const inRing = (ring: Ring, players: readonly Player[]): readonly Player[] =>
  ring.members.map(({ certHash }) =>
    at(
      players.filter(({ principal }) => equalBytes(principal.certHash, certHash)),
      0,
    ),
  );

export const rosterEntries = ({ rosterMessage }: Pick<CollectingTokens, 'rosterMessage'>): readonly RosterEntry[] =>
  parseRosterBundle(payloadOf(rosterMessage)).entries;

export const signRoster = (n: Neighbourhood, annId: Uint8Array, entries: readonly RosterEntry[]): Uint8Array =>
  signAs(n.suite, n.gateway, 'roster', annId, encodeRosterBundle({ announcementRef: annId.slice(0, 8), entries }));

/** Entries in the ring order that members expect. */
export const ordered = (
  { suite }: Neighbourhood,
  { list }: Membership,
  annId: Uint8Array,
  entries: readonly RosterEntry[],
): readonly RosterEntry[] =>
  inRingOrder(
    suite,
    annId,
    entries.map((entry) => ({ ...entry, certHash: at(list.entries, entry.listIndex).certHash })),
  );

/** The bundle with the signatures of all tokens. */
export const tokenEntries = (state: Pick<CollectingConfirmations, 'signedTokensMessage'>): readonly TokenEntry[] =>
  parseTokenBundle(payloadOf(state.signedTokensMessage)).entries;

export const unsigned = (entries: readonly TokenEntry[]): readonly TokenEntry[] =>
  entries.map((entry) => ({ ...entry, signature: null }));

export const signTokens = (n: Neighbourhood, { sid, th1 }: Ring, entries: readonly TokenEntry[]): Uint8Array =>
  signAs(n.suite, n.gateway, 'tokens', th1, encodeTokenBundle({ sessionRef: sid.slice(0, 8), entries }));

/** An insider's token with other content, signed by it. */
export function resignToken(
  n: Neighbourhood,
  { th1 }: Ring,
  insider: Principal,
  token: Uint8Array,
  change: (token: Token) => Partial<Token>,
): Uint8Array {
  const parts = parseToken(payloadOf(token));
  return signAs(n.suite, insider, 'token', th1, encodeToken({ ...parts, ...change(parts) }));
}

/** As the coordinator enters a member's token in the bundle. */
export const tokenEntryOf = (token: Uint8Array): TokenEntry => ({
  ...parseToken(payloadOf(token)),
  signature: signatureOf(token),
});

export const confirmationEntries = (state: Pick<Published, 'confirmationsMessage'>): readonly ConfirmationEntry[] =>
  parseConfirmationBundle(payloadOf(state.confirmationsMessage)).entries;

export const signConfirmations = (
  n: Neighbourhood,
  { ring: { sid }, name: { th2 } }: Pick<Published, 'ring' | 'name'>,
  entries: readonly ConfirmationEntry[],
): Uint8Array =>
  signAs(n.suite, n.gateway, 'confirmations', th2, encodeConfirmationBundle({ sessionRef: sid.slice(0, 8), entries }));

/** What a member or an insider confirms: any MAC and key, under its own signature. */
export const signConfirmation = (
  { suite }: Neighbourhood,
  member: Signing,
  { sid, th2 }: { readonly sid: Uint8Array; readonly th2: Uint8Array },
  content: Pick<ConfirmationEntry, 'mac' | 'groupPublicKey'>,
): Uint8Array =>
  signAs(suite, member, 'confirmation', th2, encodeConfirmation({ sessionRef: sid.slice(0, 8), th2, ...content }));

/** As the coordinator enters a member's confirmation in the bundle. */
export function confirmationEntryOf(confirmation: Uint8Array): ConfirmationEntry {
  const { mac, groupPublicKey } = parseConfirmation(payloadOf(confirmation));
  return { mac, groupPublicKey, signature: signatureOf(confirmation) };
}

/** The code of the refusal. @throws Error when nothing was refused */
export function refusal(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof GridringError) return error.code;
    throw error;
  }
  throw new Error('was accepted');
}

/** Everything in a state that is data, to see whether a step that refused has left it alone. */
export const fingerprint = (state: MemberState): string =>
  JSON.stringify(state, (_, value: unknown) => (value instanceof Uint8Array ? toHex(value) : value));

/** The code with which a member refuses; its state is as before. */
export function refusedBy(
  { context, state }: Player,
  round: MemberRound,
  message: Uint8Array,
  changed: Partial<MemberContext> = {},
): string {
  const before = fingerprint(state);
  const code = refusal(() => round({ ...context, ...changed }, state, message));
  expect(fingerprint(state)).toBe(before);
  return code;
}
