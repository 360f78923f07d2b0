import { describe, expect, it } from 'vitest';
import { fromHex } from '../../crypto/bytes.js';
import { assembleSign1, parseSign1, protectedHeader } from '../../crypto/cose.js';
import { limits } from '../../crypto/limits.js';
import { announce, closeShares, missing, onShare } from '../../crypto/ring/coordinator.js';
import { onAnnouncement, onRoster } from '../../crypto/ring/member.js';
import { encodeShare, parseShare, type Share } from '../../crypto/ring/messages.js';
import type { SuiteName } from '../../crypto/suite.js';
import {
  at,
  inRing,
  neighbourhoodOf,
  payloadOf,
  refusal,
  refusedBy,
  replaced,
  rosterEntries,
  signAs,
  signRoster,
  suites,
} from '../support/forge.js';
import { nowS, type Neighbourhood, type Principal } from '../support/neighbourhood.js';
import { collectTokens, makePlayers, play, snapshot, throughShares, type AfterShares } from '../support/ring.js';

/** A share with any content, signed by whomever. */
const forged = (n: Neighbourhood, after: AfterShares, signer: Principal, changes: Partial<Share> = {}): Uint8Array =>
  signAs(
    n.suite,
    signer,
    'share',
    after.collecting.annId,
    encodeShare({ ...parseShare(payloadOf(at(after.shares, 0))), ...changes }),
  );

const badKeys: Record<SuiteName, readonly (readonly [why: string, key: string])[]> = {
  x25519: [
    ['u = 0, of small order', '00'.repeat(32)],
    ['u = 1, of small order', `01${'00'.repeat(31)}`],
    ['u of order 8', 'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800'],
    ['u = p − 1, of small order on the twist', `ec${'ff'.repeat(30)}7f`],
    ['u = p, not canonical', `ed${'ff'.repeat(30)}7f`],
    ['u = p + 9, not canonical', `f6${'ff'.repeat(30)}7f`],
    ['a set top bit', `09${'00'.repeat(30)}80`],
  ],
  p256: [
    ['x off the curve', `${'00'.repeat(31)}01`],
    ['x = p, not canonical', 'ffffffff00000001000000000000000000000000ffffffffffffffffffffffff'],
    ['x above p', 'ff'.repeat(32)],
  ],
};

describe.each(suites)('a coordinator that collects shares, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 3);
  const context = n.coordinatorContext();
  const honest = throughShares(n);
  const empty = { ...honest.collecting, shares: new Map() };
  const meter = at(n.meters, 0);
  const share = at(honest.shares, 0);

  it('takes an identical share again, and another one of the same member never', () => {
    const resigned = forged(n, honest, meter);
    expect(onShare(context, honest.collecting, resigned)).toBe(honest.collecting);
    const twoFaced = forged(n, honest, meter, { commitment: new Uint8Array(32) });
    expect(refusal(() => onShare(context, honest.collecting, twoFaced))).toBe('share-equivocation');
  });

  it.each([
    ['attempt', 1, 2],
    ['epoch', 2, 1],
  ])('refuses a share of another %s, and one whose reference was changed to fit', (_, epoch, attempt) => {
    const other = announce(context, { epoch, attempt, reason: 'retry', expiryS: nowS + 120 });
    expect(refusal(() => onShare(context, other, share))).toBe('wrong-round');
    const { protectedHeader: header, payload, signature } = parseSign1(share, limits.memberMessage);
    const referring = encodeShare({ ...parseShare(payload), announcementRef: other.annId.slice(0, 8) });
    expect(refusal(() => onShare(context, other, assembleSign1(header, referring, signature)))).toBe(
      'signature-invalid',
    );
  });

  it('refuses a share under the algorithm of the other suite', () => {
    const { payload, signature } = parseSign1(share, limits.memberMessage);
    const header = protectedHeader(suite.signatureAlgorithm === -19 ? -9 : -19, meter.kid);
    expect(refusal(() => onShare(context, empty, assembleSign1(header, payload, signature)))).toBe(
      'algorithm-mismatch',
    );
  });

  it('refuses one member’s share under the key id of another, and a key id that nobody has', () => {
    const { payload, signature } = parseSign1(share, limits.memberMessage);
    const as = (kid: Uint8Array) => assembleSign1(protectedHeader(suite.signatureAlgorithm, kid), payload, signature);
    expect(refusal(() => onShare(context, empty, as(at(n.meters, 1).kid)))).toBe('signature-invalid');
    expect(refusal(() => onShare(context, empty, as(new Uint8Array(8))))).toBe('not-listed');
  });

  it('refuses whoever is in the list without being a member, and whoever is not in it', () => {
    const stranger = n.certify('meter', 'meter-99', { seed: 'stranger' });
    for (const signer of [n.utility, n.operator, n.gateway, stranger]) {
      expect(refusal(() => onShare(context, empty, forged(n, honest, signer)))).toBe('not-listed');
    }
  });

  it.each(badKeys[suite.name])('refuses an ephemeral key with %s; so does the neighbour', (_, hex) => {
    const ephemeralKey = fromHex(hex);
    const insider = at(inRing(collectTokens(n, throughShares(n)).roster.ring, makePlayers(n)), 0).principal;
    expect(refusal(() => onShare(context, empty, forged(n, honest, insider, { ephemeralKey })))).toBe('key-invalid');

    const after = throughShares(n);
    const waiting = snapshot(after.players);
    const { roster } = collectTokens(n, after);
    const players = inRing(roster.ring, waiting);
    const bad = forged(n, after, at(players, 0).principal, { ephemeralKey });
    const { signature } = parseSign1(bad, limits.memberMessage);
    const { commitment } = parseShare(payloadOf(bad));
    const entries = replaced(rosterEntries(roster), 0, (entry) => ({ ...entry, ephemeralKey, commitment, signature }));
    const message = signRoster(n, roster.annId, entries);
    for (const neighbour of players.slice(1)) expect(refusedBy(neighbour, onRoster, message)).toBe('key-invalid');
  });

  it('refuses a member that echoes the key of another, so that the others still make a ring', () => {
    const echo = at(n.meters, 1);
    const { ephemeralKey } = parseShare(payloadOf(share));
    let state = onShare(context, empty, share);
    expect(refusal(() => onShare(context, state, forged(n, honest, echo, { ephemeralKey })))).toBe('share-key-taken');
    state = onShare(context, state, at(honest.shares, 2));
    expect(closeShares(context, state).ring.members).toHaveLength(2);
    expect(missing(context, state)).toEqual([echo.certHash]);
  });

  it('refuses a share whose sender’s certificate has expired since the list was verified', () => {
    const brief = n.certify('meter', 'meter-brief', { seed: 'brief', notAfterS: nowS + 60 });
    const membership = n.membership(n.list({ add: [brief] }), [brief]);
    const collecting = announce(n.coordinatorContext(membership), {
      epoch: 1,
      attempt: 1,
      reason: 'join',
      expiryS: nowS + 3_600,
    });
    const [player] = makePlayers({ ...n, meters: [brief] }, { membership });
    const late = play(player!, onAnnouncement, collecting.announcementMessage);
    const lateContext = { ...n.coordinatorContext(membership), nowS: nowS + 60 + limits.clockSkewS + 1 };
    expect(refusal(() => onShare(lateContext, collecting, late))).toBe('certificate-expired');
  });

  it('closes no roster of a minority', () => {
    const one = onShare(context, empty, share);
    expect(missing(context, one)).toHaveLength(n.meters.length - 1);
    expect(refusal(() => closeShares(context, one))).toBe('roster-minority');
  });
});
