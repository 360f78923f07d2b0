import { describe, expect, it } from 'vitest';
import { equalBytes, toHex, xorBytes } from '../../crypto/bytes.js';
import { decodeStrict, encode, type CborItem } from '../../crypto/cbor.js';
import { parseSign1 } from '../../crypto/cose.js';
import { limits } from '../../crypto/limits.js';
import { announcementOfVerdict, judge, verifyVerdict, type VerifiedVerdict } from '../../crypto/ring/blame.js';
import { onTokensReply } from '../../crypto/ring/inconsistent.js';
import { onTokens } from '../../crypto/ring/member.js';
import {
  encodeAbort,
  encodeConfirmation,
  encodeReveal,
  parseAbort,
  parseConfirmation,
  type Token,
} from '../../crypto/ring/messages.js';
import type { Ring } from '../../crypto/ring/roster.js';
import { tagOf } from '../../crypto/ring/schedule.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import type { EpochReport, Reach } from '../../things/epoch-run.js';
import { afterVerdict, emptyQuarantine, exclusions } from '../../things/quarantine.js';
import { activeKeys, makeRun, outcome, unreachable, type Behaviour, type Setting } from '../support/epoch-run.js';
import {
  at,
  flipped,
  neighbourhoodOf,
  payloadOf,
  refusal,
  replaced,
  resignToken,
  signAs,
  signTokens,
  suites,
  tokenEntries,
  unsigned,
} from '../support/forge.js';
import { nowS, type Neighbourhood } from '../support/neighbourhood.js';
import { play, throughTokens, type Player } from '../support/ring.js';

/** What an insider knows at each step. */
interface Insider {
  readonly n: Neighbourhood;
  readonly player: Player;
  readonly ring: Ring;
  readonly position: number;
  readonly secret: Uint8Array;
  readonly edges: { readonly left: Uint8Array; readonly right: Uint8Array };
}

interface Lies {
  readonly token?: (token: Token, insider: Insider) => Partial<Token>;
  /** What it answers the tokens with; `signed` tells the bundle with all signatures, against which honest ones reveal. */
  readonly answer?: (insider: Insider, honest: () => Uint8Array, signed: boolean) => Uint8Array;
}

/** Everybody is honest but those at these positions of the ring. */
function lying(n: Neighbourhood, positions: readonly number[], { token, answer }: Lies): Behaviour {
  const known = new Map<Player, Insider>();
  let confirms = 0;
  return (action, _message, honest, player) => {
    if (action === 'agree') {
      const reply = honest();
      const insider = insiderOf(n, player);
      known.set(player, insider);
      if (!token || !positions.includes(insider.position)) return reply;
      return resignToken(n, insider.ring, player.principal, reply, (parts) => token(parts, insider));
    }
    const insider = known.get(player);
    if (action !== 'confirm' || !answer || !insider || !positions.includes(insider.position)) return honest();
    confirms++;
    return answer(insider, honest, confirms > positions.length);
  };
}

function insiderOf(n: Neighbourhood, player: Player): Insider {
  const { round } = player.state;
  if (round.kind !== 'tokenSent') throw new Error(`in round ${round.kind}`);
  const { ring, index: position } = round;
  // Copies: a member overwrites its own.
  const edges = { left: round.leftEdge.slice(), right: round.rightEdge.slice() };
  return { n, player, ring, position, secret: round.secret.slice(), edges };
}

const revealOf = ({ n, player, ring }: Insider, secret: Uint8Array): Uint8Array =>
  signAs(n.suite, player.principal, 'reveal', ring.th1, encodeReveal({ sessionRef: ring.sid.slice(0, 8), secret }));

const abortOf = ({ n, player, ring }: Insider): Uint8Array => {
  const payload = encodeAbort({ sessionRef: ring.sid.slice(0, 8), reason: 'tag', accused: null });
  return signAs(n.suite, player.principal, 'abort', ring.th1, payload);
};

const verdictPayload = (message: Uint8Array): Uint8Array => parseSign1(message, limits.verdict).payload;

const difference = new Uint8Array(32).fill(0xd1);
const shifted = ({ token }: Pick<Token, 'token'>): Partial<Token> => ({ token: xorBytes(token, difference) });
const silence = { answer: unreachable };

interface Tried extends Setting {
  readonly code: string;
  readonly report: EpochReport;
  /** `position accusation`, and positions of who is silent. */
  readonly accused: readonly string[];
  readonly silent: readonly number[];
}

/** Runs an attempt that comes to nothing. */
async function tried(n: Neighbourhood, positions: readonly number[], lies: Lies, options: object = {}): Promise<Tried> {
  const setting = makeRun(n, { behaviour: lying(n, positions, lies), ...options });
  const code = await outcome(setting);
  const { report, state } = setting.run;
  if (typeof code !== 'string' || !report || !('ring' in state)) throw new Error('came to a key');
  expect(activeKeys(setting).every((key) => key === null)).toBe(true);
  const position = (member: Uint8Array): number =>
    state.ring.members.findIndex(({ certHash }) => equalBytes(certHash, member));
  const { accused = [], silent = [] } = report.verdict ?? {};
  return {
    ...setting,
    code,
    report,
    accused: accused.map(({ certHash, accusation }) => `${position(certHash)} ${accusation}`),
    silent: silent.map(position),
  };
}

const verify = ({ n, report }: Tried): VerifiedVerdict =>
  verifyVerdict(n.suite, n.membership(), report.verdict?.message ?? new Uint8Array(0), nowS);

const dropoutsOf = ({ run, report }: Tried): readonly string[] =>
  report.dropouts.map(({ member, round }) => {
    const { members } = (run.state as { readonly ring: Ring }).ring;
    return `${members.findIndex(({ certHash }) => equalBytes(certHash, member))} ${round}`;
  });

describe.each(suites)('a verdict, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 4);

  it('convicts who sent a token that is not that of its edges, and nobody else', async () => {
    const attempt = await tried(n, [1], { token: shifted });
    expect(attempt.code).toBe('tokens-inconsistent');
    expect(attempt.accused).toEqual(['1 token']);
    expect(attempt.silent).toEqual([]);
    expect(attempt.report).toMatchObject({ dropouts: [], faithful: { length: 3 } });
    expect(verify(attempt)).toMatchObject({ accused: attempt.report.verdict!.accused, silent: [] });
  });

  it('needs no word of the one it convicts: its neighbours’ secrets give its edges', async () => {
    const attempt = await tried(n, [1], { token: shifted, ...silence });
    expect(attempt.accused).toEqual(['1 token']);
    verify(attempt);
  });

  it('convicts who opens another commitment, without anybody’s secret', async () => {
    const attempt = await tried(n, [2], { token: () => ({ opening: new Uint8Array(16) }) });
    expect(attempt.accused).toEqual(['2 commitment']);
    expect(attempt.calls.filter((call) => call.startsWith('confirm'))).toEqual([]);
    expect(verify(attempt).accused).toHaveLength(1);
  });

  it('convicts who signs a reveal that is not the secret of its share, and the liar beside it', async () => {
    const attempt = await tried(n, [0, 2], {
      token: (token, { position }) => (position === 2 ? shifted(token) : {}),
      answer: (insider, honest) => (insider.position === 0 ? revealOf(insider, difference) : honest()),
    });
    expect(attempt.accused).toEqual(['0 reveal', '2 token']);
    verify(attempt);
  });

  it('takes a secret that is no scalar for a false one', async () => {
    const attempt = await tried(n, [0, 2], {
      token: (token, { position }) => (position === 2 ? shifted(token) : {}),
      answer: (insider, honest) => (insider.position === 0 ? revealOf(insider, new Uint8Array(32)) : honest()),
    });
    expect(attempt.accused).toEqual(['0 reveal', '2 token']);
    verify(attempt);
  });

  it('names who will not reveal, without convicting it', async () => {
    const attempt = await tried(n, [0, 2], {
      token: (token, { position }) => (position === 2 ? shifted(token) : {}),
      answer: (insider, honest) => (insider.position === 0 ? unreachable() : honest()),
    });
    expect(attempt.accused).toEqual(['2 token']);
    expect(attempt.silent).toEqual([0]);
    expect(dropoutsOf(attempt)).toEqual(['0 reveals']);
    verify(attempt);
  });
});

describe('insiders that act together', () => {
  it.each([
    [4, 0, 2],
    [5, 1, 3],
    [5, 0, 3],
  ])(
    'are both convicted where tokens of a ring of %i add up to zero but split at %i and %i, silent or not',
    async (size, p, q) => {
      const n = neighbourhoodOf(suiteX25519, size);
      for (const answer of [silence, {}]) {
        const attempt = await tried(n, [p, q], { token: shifted, ...answer });
        expect(attempt.accused).toEqual([`${p} token`, `${q} token`]);
        verify(attempt);
      }
    },
  );

  it('are both convicted where they agree on a wrong tag of the edge between them, silent or not', async () => {
    const n = neighbourhoodOf(suiteX25519, 4);
    const wrong = new Uint8Array(16);
    const token: Lies['token'] = (_, { position }) => (position === 1 ? { rightTag: wrong } : { leftTag: wrong });
    for (const answer of [silence, {}]) {
      const attempt = await tried(n, [1, 2], { token, ...answer });
      expect(attempt.accused).toEqual(['1 token', '2 token']);
      verify(attempt);
    }
  });

  it('are named together, and not convicted, where both are silent and each token may be honest', async () => {
    const n = neighbourhoodOf(suiteX25519, 4);
    const attempt = await tried(n, [1, 2], {
      token: (token, { ring, position, edges }) => {
        const { token: other } = { ...token, ...shifted(token) };
        const edge = xorBytes(edges.right, difference);
        return position === 1 ? { token: other, rightTag: tagOf(n.suite, ring.th1, 1, edge) } : {};
      },
      ...silence,
    });
    expect(attempt.accused).toEqual([]);
    expect(attempt.silent).toEqual([1, 2]);
    expect(dropoutsOf(attempt)).toEqual(['1 reveals', '2 reveals']);
    expect(verify(attempt).accused).toEqual([]);
  });

  it('tell nothing of anybody where nobody reveals', async () => {
    const n = neighbourhoodOf(suiteX25519, 4);
    const attempt = await tried(n, [0, 1, 2, 3], {
      token: (token, { position }) => (position === 2 ? shifted(token) : {}),
      ...silence,
    });
    expect(attempt.report).toMatchObject({ verdict: null, dropouts: [], faithful: [] });
  });
});

describe('who says that tokens do not fit which do', () => {
  const n = neighbourhoodOf(suiteX25519, 4);

  it.each<[string, (insider: Insider, signed: boolean) => Uint8Array]>([
    ['aborts', abortOf],
    ['aborts, and then is silent', (insider, signed) => (signed ? unreachable() : abortOf(insider))],
    ['reveals its secret', (insider) => revealOf(insider, insider.secret)],
  ])('convicts nobody and makes nobody reveal, and has itself dropped out: %s', async (_, answer) => {
    const attempt = await tried(n, [3], { answer: (insider, _honest, signed) => answer(insider, signed) });
    expect(attempt.report.verdict).toBeNull();
    expect(dropoutsOf(attempt)).toEqual(['3 confirmations']);
    expect(attempt.report.faithful).toHaveLength(3);
    const honest = attempt.players.filter(({ state }) => state.round.kind === 'confirmed');
    expect(honest).toHaveLength(3);
  });

  it('is convicted where it reveals a false secret', async () => {
    const attempt = await tried(n, [3], { answer: (insider) => revealOf(insider, difference) });
    expect(attempt.accused).toEqual(['3 reveal']);
    verify(attempt);
  });
});

describe('group keys that differ', () => {
  it('give no verdict, and are held against the minority that shows another', async () => {
    const n = neighbourhoodOf(suiteX25519, 4);
    const attempt = await tried(n, [1], {
      answer: ({ player }, honest) => {
        const confirmation = parseConfirmation(payloadOf(honest()));
        const payload = encodeConfirmation({ ...confirmation, groupPublicKey: difference });
        return signAs(n.suite, player.principal, 'confirmation', confirmation.th2, payload);
      },
    });
    expect(attempt.report.verdict).toBeNull();
    expect(dropoutsOf(attempt)).toEqual(['1 confirmations']);
    expect(attempt.calls.filter((call) => call.startsWith('confirm'))).toHaveLength(4);
  });
});

describe('the constrained profile', () => {
  const n = neighbourhoodOf(suiteX25519, 4);
  const membership = n.membership(n.list({ policy: { profile: 'constrained' } }));

  it('asks nobody to reveal, and blames nobody for tokens that do not add up', async () => {
    const attempt = await tried(n, [1], { token: shifted }, { membership });
    expect(attempt.report).toMatchObject({ verdict: null, dropouts: [] });
    expect(attempt.calls.filter((call) => call.startsWith('confirm'))).toEqual([]);
  });

  it('holds the word of most against that of one who aborts alone', async () => {
    const attempt = await tried(n, [1], { answer: abortOf }, { membership });
    expect(attempt.report.verdict).toBeNull();
    expect(dropoutsOf(attempt)).toEqual(['1 confirmations']);
    expect(attempt.clock.nowS).toBe(nowS);
  });

  it('still convicts by a commitment', async () => {
    const attempt = await tried(n, [1], { token: () => ({ opening: new Uint8Array(16) }) }, { membership });
    expect(attempt.accused).toEqual(['1 commitment']);
    const { message } = attempt.report.verdict!;
    expect(verifyVerdict(n.suite, membership, message, nowS).accused).toHaveLength(1);
  });
});

describe('a coordinator that would convict an innocent', () => {
  const n = neighbourhoodOf(suiteX25519, 4);

  it('gets aborts for an altered bundle, which show nothing against the tokens that were signed', () => {
    const { confirming, roster, players } = throughTokens(n);
    const altered = replaced(tokenEntries(confirming), 2, (entry) => ({ ...entry, token: flipped(entry.token) }));
    const aborts = players.map((player) => play(player, onTokens, signTokens(n, roster.ring, unsigned(altered))));
    expect(aborts.map((abort) => parseAbort(payloadOf(abort)).accused)).toEqual([null, null, null, null]);
    expect(judge(n.suite, roster.ring, tokenEntries(confirming), new Map())).toBeNull();
  });

  it('finds no fault with tokens that fit, whoever reveals', async () => {
    const setting = makeRun(n, {
      behaviour: lying(n, [3], { answer: (insider) => revealOf(insider, insider.secret) }),
    });
    await outcome(setting);
    const { state } = setting.run;
    if (state.kind !== 'inconsistent') throw new Error(`in ${state.kind}`);
    const secrets = new Map([...state.reveals].map(([i, { secret }]) => [i, secret]));
    expect(secrets.size).toBe(1);
    expect(judge(n.suite, state.ring, state.tokens, secrets)).toBeNull();
  });
});

describe('a coordinator that asks for reveals', () => {
  const n = neighbourhoodOf(suiteX25519, 4);

  it('takes one of each member, of this session only, and none once it is over', async () => {
    const [first, second] = [
      await tried(n, [1], { token: shifted }),
      await tried(n, [1], { token: shifted, ...silence }),
    ];
    const [one, other] = [first.run.state, second.run.state];
    if (one.kind !== 'inconsistent' || other.kind !== 'inconsistent') throw new Error('came to something else');
    const context = n.coordinatorContext();
    const take = (message: Uint8Array): string => refusal(() => onTokensReply(context, other, message));
    const { message, secret } = one.reveals.get(0)!;
    expect(take(message)).toBe('wrong-round');
    const owner = at(
      n.meters.filter(({ certHash }) => equalBytes(certHash, at(one.ring.members, 0).certHash)),
      0,
    );
    const payload = encodeReveal({ sessionRef: other.ring.sid.slice(0, 8), secret });
    expect(take(signAs(n.suite, owner, 'reveal', one.ring.th1, payload))).toBe('signature-invalid');
    const mine = [...other.reveals][0]!;
    expect(onTokensReply(context, other, mine[1].message)).toBe(other);
    const sender = at(
      n.meters.filter(({ certHash }) => equalBytes(certHash, at(other.ring.members, mine[0]).certHash)),
      0,
    );
    expect(take(signAs(n.suite, sender, 'reveal', other.ring.th1, payload))).toBe('reveal-equivocation');
    expect(
      refusal(() => {
        second.run.accept(mine[1].message);
      }),
    ).toBe('wrong-round');
  });

  it('leaves the convicted out of the next attempt, and then there is a key', async () => {
    const { report, players } = await tried(n, [1], { token: shifted });
    const convicted = report.verdict!.accused.map(({ certHash }) => certHash);
    const quarantine = afterVerdict(emptyQuarantine, convicted, n.list());
    const members = n.meters.map(({ certHash }) => certHash);
    const out = exclusions(quarantine, n.list(), members, nowS);
    const reach: Record<number, Reach> = {};
    for (const [i, member] of members.entries()) if (out.has(toHex(member))) reach[i] = 'quarantined';
    const next = makeRun(n, { attempt: 2, players, reach });
    await outcome(next);
    expect(next.run.report).toMatchObject({ agreed: true, faithful: { length: 3 } });
  });
});

describe('a verdict that was changed', () => {
  const n = neighbourhoodOf(suiteX25519, 4);
  const membership = n.membership();
  const signedByCoordinator = async (): Promise<{ message: Uint8Array; ring: Ring; fields: readonly CborItem[] }> => {
    const { report, run } = await tried(n, [1, 3], {
      token: (token, { position }) => (position === 1 ? shifted(token) : {}),
      answer: (insider, honest) => (insider.position === 3 ? unreachable() : honest()),
    });
    const { message } = report.verdict!;
    const fields = decodeStrict(verdictPayload(message), limits.verdict) as readonly CborItem[];
    return { message, ring: (run.state as { readonly ring: Ring }).ring, fields };
  };
  const check = (message: Uint8Array): string => refusal(() => verifyVerdict(n.suite, membership, message, nowS));

  it('does not verify, whichever byte of it', async () => {
    const { message } = await signedByCoordinator();
    verifyVerdict(n.suite, membership, message, nowS);
    for (let bit = 0; bit < message.length * 8; bit += 997) {
      expect(() => verifyVerdict(n.suite, membership, flipped(message, bit), nowS)).toThrow();
    }
  });

  it('does not verify under the coordinator’s own signature, whatever it says instead', async () => {
    const { ring, fields } = await signedByCoordinator();
    const [sid, accused, silent, announcement, roster, tokens, reveals] = fields as readonly [
      Uint8Array,
      readonly (readonly [Uint8Array, number])[],
      readonly Uint8Array[],
      Uint8Array,
      Uint8Array,
      Uint8Array,
      readonly Uint8Array[],
    ];
    const innocent = at(ring.members, 0).certHash;
    const [liar] = at(accused, 0);
    const instead = (changes: Readonly<Record<number, CborItem>>): string =>
      check(signAs(n.suite, n.gateway, 'verdict', ring.th1, encode(fields.map((field, i) => changes[i] ?? field))));
    const [first, second] = [at(reveals, 0), at(reveals, 1)];
    const other = await signedByCoordinator();
    const replayed = (other.fields[6] as readonly Uint8Array[])[0]!;

    expect(instead({ 0: flipped(sid) })).toBe('verdict-unfounded');
    expect(instead({ 1: [[innocent, 2]] })).toBe('verdict-unfounded');
    expect(instead({ 1: [...accused, [innocent, 2]] })).toBe('verdict-unfounded');
    expect(instead({ 1: [[liar, 1]] })).toBe('verdict-unfounded');
    expect(instead({ 1: [[liar, 3]] })).toBe('message-malformed');
    expect(instead({ 1: [] })).toBe('verdict-unfounded');
    expect(instead({ 2: [innocent] })).toBe('verdict-unfounded');
    expect(instead({ 2: [...silent, innocent] })).toBe('verdict-unfounded');
    expect(instead({ 3: at(other.fields, 3) })).toBe('signature-invalid');
    expect(instead({ 4: at(other.fields, 4) })).toBe('signature-invalid');
    expect(instead({ 5: at(other.fields, 5) })).toBe('signature-invalid');
    expect(instead({ 3: announcement.subarray(1) })).toBe('cose-malformed');
    expect(instead({ 4: flipped(roster, roster.length * 8 - 1) })).toBe('signature-invalid');
    expect(instead({ 5: flipped(tokens, tokens.length * 8 - 1) })).toBe('signature-invalid');
    expect(instead({ 6: [second, first] })).toBe('verdict-reveals');
    expect(instead({ 6: [first, first] })).toBe('verdict-reveals');
    expect(instead({ 6: [replayed] })).toBe('verdict-reveals');
    expect(instead({ 6: [flipped(first, first.length * 8 - 1), second] })).toBe('signature-invalid');
    expect(instead({ 6: [] })).toBe('verdict-unfounded');
  });

  it('is of its own list and its own coordinator', async () => {
    const { message, ring } = await signedByCoordinator();
    const newer = n.membership(n.list({ version: 2 }));
    expect(refusal(() => verifyVerdict(n.suite, newer, message, nowS))).toBe('membership-unknown');
    expect(announcementOfVerdict(message)).toMatchObject({ gid: n.gid, listHash: membership.listHash });
    expect(check(signAs(n.suite, n.operator, 'verdict', ring.th1, verdictPayload(message)))).toBe('wrong-signer');
  });

  it('fits its cap in a full ring', async () => {
    const sizes = await Promise.all(
      [4, 5].map(async (size) => {
        const attempt = await tried(neighbourhoodOf(suiteX25519, size), [1], { token: shifted });
        return attempt.report.verdict!.message.length;
      }),
    );
    const [four, five] = [at(sizes, 0), at(sizes, 1)];
    expect(four + (limits.ringMembersHard - 4) * (five - four + 40)).toBeLessThan(limits.verdict);
  });
});
