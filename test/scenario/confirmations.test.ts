import { describe, expect, it } from 'vitest';
import { limits } from '../../crypto/limits.js';
import type { Membership } from '../../crypto/membership.js';
import { onConfirmation } from '../../crypto/ring/coordinator.js';
import { onConfirmations, onTokens } from '../../crypto/ring/member.js';
import { encodeConfirmation, type ConfirmationEntry } from '../../crypto/ring/messages.js';
import { confirmationMac } from '../../crypto/ring/schedule.js';
import { deriveKeyPair } from '../../crypto/hpke.js';
import {
  at,
  confirmationEntries,
  confirmationEntryOf,
  fingerprint,
  flipped,
  inRing,
  neighbourhoodOf,
  refusal,
  refusedBy,
  replaced,
  signAs,
  signConfirmation,
  signConfirmations,
  suites,
} from '../support/forge.js';
import type { Neighbourhood } from '../support/neighbourhood.js';
import { makePlayers, play, throughConfirmations, type AfterConfirmations, type Player } from '../support/ring.js';

/** A ring in which all have confirmed, by position in it; nobody has heard of the others' confirmations. */
interface AllConfirmed extends AfterConfirmations {
  readonly members: readonly Player[];
  readonly entries: readonly ConfirmationEntry[];
}

function allConfirmed(n: Neighbourhood, epoch = 1, membership: Membership = n.membership()): AllConfirmed {
  const after = throughConfirmations(n, { epoch, membership, players: makePlayers(n, { membership }) });
  const { published } = after;
  return {
    ...after,
    members: inRing(published.ring, after.players),
    entries: confirmationEntries(published),
  };
}

function roundOf({ state: { round } }: Player) {
  if (round.kind !== 'confirmed') throw new Error(`in round ${round.kind}`);
  return round;
}

describe.each(suites)('a member that is shown the confirmations, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 4);
  const all = allConfirmed(n);
  const [member] = all.members;
  const { ring, name } = all.published;
  const { confirmationKey, groupPublicKey } = roundOf(member!).keys;
  const session = { sid: ring.sid, th2: name.th2 };
  const refuses = (entries: readonly ConfirmationEntry[]) =>
    refusedBy(member!, onConfirmations, signConfirmations(n, all.published, entries));
  /** What the insider at `i` signs. */
  const signedBy = (i: number, content: Pick<ConfirmationEntry, 'mac' | 'groupPublicKey'>): ConfirmationEntry =>
    confirmationEntryOf(signConfirmation(n, at(all.members, i).principal, session, content));

  it('keeps the key pending until then: it protects and accepts nothing', () => {
    expect(member!.state).toMatchObject({ active: null, previous: null, round: { kind: 'confirmed' } });
  });

  it('refuses a bundle in which one is missing, or one too many', () => {
    expect(refuses(all.entries.slice(0, 3))).toBe('confirmations-count');
    expect(refuses([...all.entries, at(all.entries, 0)])).toBe('confirmations-count');
  });

  it('refuses another’s MAC, moved there or signed by an insider as its own', () => {
    const moved = replaced(all.entries, 2, (entry) => ({ ...entry, mac: at(all.entries, 3).mac }));
    expect(refuses(moved)).toBe('confirmation-mac');
    const copied = replaced(all.entries, 2, () => signedBy(2, { mac: at(all.entries, 3).mac, groupPublicKey }));
    expect(refuses(copied)).toBe('confirmation-mac');
    expect(refuses([...all.entries].reverse())).toBe('confirmation-mac');
  });

  it('refuses a signed MAC that is of no key', () => {
    const wrong = replaced(all.entries, 2, () => signedBy(2, { mac: new Uint8Array(16), groupPublicKey }));
    expect(refuses(wrong)).toBe('confirmation-mac');
  });

  it('refuses an absent member that an insider plays, though it can make every MAC', () => {
    const mac = confirmationMac(suite, confirmationKey, 2, name.th2);
    const insider = confirmationEntryOf(
      signConfirmation(n, at(all.members, 1).principal, session, { mac, groupPublicKey }),
    );
    expect(refuses(replaced(all.entries, 2, () => insider))).toBe('signature-invalid');
    const own = replaced(all.entries, 2, (entry) => ({ ...entry, signature: at(all.entries, 0).signature }));
    expect(refuses(own)).toBe('signature-invalid');
  });

  it('refuses another group public key, though signed and with the right MAC', () => {
    const mac = confirmationMac(suite, confirmationKey, 2, name.th2);
    const otherKey = deriveKeyPair(suite, new Uint8Array(32)).key.hpkePublicKey;
    const differing = replaced(all.entries, 2, () => signedBy(2, { mac, groupPublicKey: otherKey }));
    expect(refuses(differing)).toBe('confirmation-key');
    const everywhere = all.entries.map((entry) => ({ ...entry, groupPublicKey: otherKey }));
    expect(refuses(everywhere)).toBe('confirmation-key');
  });

  it('refuses the confirmations of another epoch, whole or in part', () => {
    const other = allConfirmed(n, 2);
    expect(refusedBy(member!, onConfirmations, other.published.confirmationsMessage)).toBe('wrong-round');
    expect(refuses(other.entries)).toBe('confirmation-mac');
    const replay = replaced(all.entries, 2, (entry) => ({ ...entry, signature: at(other.entries, 2).signature }));
    expect(refuses(replay)).toBe('signature-invalid');
  });

  it('refuses them once its list has changed, and once a certificate of the roster has expired', () => {
    const message = all.published.confirmationsMessage;
    const membership = n.membership(n.list({ version: 2, without: [at(n.meters, 3)] }));
    expect(refusedBy(member!, onConfirmations, message, { membership })).toBe('membership-changed');
    const late = { nowS: at(n.meters, 0).certificate.notAfterS + limits.clockSkewS + 1 };
    expect(refusedBy(member!, onConfirmations, message, late)).toBe('certificate-expired');
  });

  it('becomes active with all of them, and the same bundle again changes nothing', () => {
    const active = { ...member! };
    play(active, onConfirmations, all.published.confirmationsMessage);
    expect(active.state).toMatchObject({ active: { name, provisional: false }, round: { kind: 'idle' } });
    const before = fingerprint(active.state);
    expect(play(active, onConfirmations, all.published.confirmationsMessage)).toHaveLength(0);
    expect(fingerprint(active.state)).toBe(before);
  });

  it('refuses confirmations where it has not confirmed, or of a session that it does not know', () => {
    const stranger = at(makePlayers(n), 0);
    expect(refusedBy(stranger, onConfirmations, all.published.confirmationsMessage)).toBe('wrong-round');
  });
});

describe.each(suites)('the constrained profile, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 5);
  const constrained = n.membership(n.list({ policy: { profile: 'constrained' } }));
  const all = allConfirmed(n, 1, constrained);
  const [member] = all.members;
  const forge = (i: number) =>
    signConfirmations(
      n,
      all.published,
      replaced(all.entries, i, (entry) => ({ ...entry, signature: flipped(entry.signature) })),
    );

  it('still checks both neighbours’ signatures, and every MAC and key', () => {
    for (const neighbour of [1, 4]) {
      expect(refusedBy(member!, onConfirmations, forge(neighbour))).toBe('signature-invalid');
    }
    for (const i of [0, 1, 2, 3, 4]) {
      const mac = replaced(all.entries, i, (entry) => ({ ...entry, mac: flipped(entry.mac) }));
      expect(refusedBy(member!, onConfirmations, signConfirmations(n, all.published, mac))).toBe('confirmation-mac');
      const key = replaced(all.entries, i, (entry) => ({ ...entry, groupPublicKey: flipped(entry.groupPublicKey) }));
      expect(refusedBy(member!, onConfirmations, signConfirmations(n, all.published, key))).toBe('confirmation-key');
    }
  });

  it('leaves the epoch provisional, for the others’ signatures are for the backend to check', () => {
    const active = { ...member! };
    play(active, onConfirmations, forge(2));
    expect(active.state.active).toMatchObject({ provisional: true });
  });

  it('is the full profile up to three members', () => {
    const three = neighbourhoodOf(suite, 3);
    const { players, published } = allConfirmed(
      three,
      1,
      three.membership(three.list({ policy: { profile: 'constrained' } })),
    );
    const player = at(players, 0);
    play(player, onConfirmations, published.confirmationsMessage);
    expect(player.state.active).toMatchObject({ provisional: false });
  });
});

describe.each(suites)('a coordinator that collects confirmations, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 4);
  const all = allConfirmed(n);
  const context = n.coordinatorContext();
  const session = { sid: all.published.ring.sid, th2: all.published.name.th2 };
  const first = onConfirmation(context, all.confirming, at(all.confirmations, 0));
  if (first.kind !== 'confirmations') throw new Error('one confirmation closed the round');

  it('takes an identical one again, and another one of the same member never', () => {
    expect(onConfirmation(context, first, at(all.confirmations, 0))).toBe(first);
    const { groupPublicKey } = at(all.entries, 0);
    const other = signConfirmation(n, at(n.meters, 0), session, { mac: new Uint8Array(16), groupPublicKey });
    expect(refusal(() => onConfirmation(context, first, other))).toBe('confirmation-equivocation');
  });

  it('refuses a replayed one, another member’s, and one of other tokens', () => {
    const other = allConfirmed(n, 2);
    expect(refusal(() => onConfirmation(context, first, at(other.confirmations, 0)))).toBe('wrong-round');
    const { signer } = at(n.meters, 1);
    const { kid } = at(n.meters, 2);
    const posing = signConfirmation(n, { signer, kid }, session, at(all.entries, 0));
    expect(refusal(() => onConfirmation(context, first, posing))).toBe('signature-invalid');
    const { th2 } = other.published.name;
    const payload = encodeConfirmation({ sessionRef: session.sid.slice(0, 8), ...at(all.entries, 0), th2 });
    const mixed = signAs(suite, at(n.meters, 1), 'confirmation', session.th2, payload);
    expect(refusal(() => onConfirmation(context, first, mixed))).toBe('confirmation-transcript');
    const otherTokens = { ...session, th2: other.published.name.th2 };
    const wrong = signConfirmation(n, at(n.meters, 1), otherTokens, at(all.entries, 0));
    expect(refusal(() => onConfirmation(context, first, wrong))).toBe('signature-invalid');
  });

  it('publishes nothing when group keys differ, and blames no honest member for coming after the liar', () => {
    const otherKey = deriveKeyPair(suite, new Uint8Array(32)).key.hpkePublicKey;
    const lie = signConfirmation(n, at(n.meters, 0), session, { mac: new Uint8Array(16), groupPublicKey: otherKey });
    let state: ReturnType<typeof onConfirmation> = onConfirmation(context, all.confirming, lie);
    for (const confirmation of all.confirmations.slice(1)) {
      if (state.kind === 'confirmations') state = onConfirmation(context, state, confirmation);
    }
    expect(state).toMatchObject({ kind: 'inconsistent', fault: { reason: 'key' } });
  });

  it('cannot make a member confirm twice: other tokens for a confirmed session are refused', () => {
    const member = at(all.players, 1);
    expect(play(member, onTokens, all.confirming.tokensMessage)).toEqual(at(all.confirmations, 1));
  });
});
