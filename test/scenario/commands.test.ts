/** Commands from an operator to members of an epoch, against everybody on the way and beside it (protocol §8). */
import { describe, expect, it } from 'vitest';
import { toHex } from '../../crypto/bytes.js';
import { decodeStrict, encode, type CborItem } from '../../crypto/cbor.js';
import { sign1 } from '../../crypto/cose.js';
import {
  issuedAtS,
  makeCommand,
  makeCommandReceipt,
  nextSequence,
  openCommandReceipt,
  parseCommand,
  parseCommandReceipt,
  verifyCommand,
  verifyCommandReceipt,
  type CommandOrder,
} from '../../crypto/envelope/command.js';
import {
  decodeObeyingState,
  encodeObeyingState,
  newObeyingState,
  obey,
  type ObeyingContext,
  type ObeyingState,
} from '../../crypto/envelope/obeying.js';
import { ConflictError } from '../../crypto/errors.js';
import { hpkeSeal } from '../../crypto/hpke.js';
import { limits } from '../../crypto/limits.js';
import type { Membership } from '../../crypto/membership.js';
import { roleBit } from '../../crypto/membership.js';
import { at, flipped, neighbourhoodOf, payloadOf, refusal, suites } from '../support/forge.js';
import { nowS, seededRandom, type Principal } from '../support/neighbourhood.js';
import { activeKey, agree, type Player } from '../support/ring.js';

describe.each(suites)('commands, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 4);
  const first = n.membership();
  const random = seededRandom('commands');
  const { players } = agree(n);
  const [meter, second, , bystander] = players as readonly [Player, Player, Player, Player];
  const { name, groupPublicKey } = activeKey(meter);
  const keysOf = ({ state }: Player) => [
    ...(state.active ? [state.active] : []),
    ...(state.previous ? [state.previous.key] : []),
  ];

  const order = (change: Partial<CommandOrder> = {}): CommandOrder => ({
    name,
    groupPublicKey,
    operator: n.operator,
    sequence: nextSequence(0, nowS),
    expiresS: nowS + 3_600,
    targets: [meter.principal.certHash, second.principal.certHash],
    operation: { name: 'set-reading-interval', intervalS: 30 },
    ...change,
  });
  const command = (change: Partial<CommandOrder> = {}): Uint8Array => makeCommand(suite, order(change), random);
  const contextOf = (player: Player, change: Partial<ObeyingContext> = {}): ObeyingContext => ({
    suite,
    membership: first,
    nowS,
    self: player.principal,
    keys: keysOf(player),
    random,
    unsupported: () => null,
    ...change,
  });
  const done = (
    bytes: Uint8Array,
    player = meter,
    state: ObeyingState = newObeyingState,
    change: Partial<ObeyingContext> = {},
  ) => obey(contextOf(player, change), state, bytes);
  /** Why a command is not done: thrown, where it may come again, and else in the meter's receipt. Nothing is done. */
  const refused = (
    bytes: Uint8Array,
    player = meter,
    state: ObeyingState = newObeyingState,
    change?: Partial<ObeyingContext>,
  ): string =>
    refusal(() => {
      const step = done(bytes, player, state, change);
      expect(step.state.readingIntervalS).toBe(state.readingIntervalS);
      const { code } = openCommandReceipt(suite, n.operator.hpkeKey, parseCommandReceipt(step.receipt));
      if (code !== null) throw new ConflictError(code, 'in the receipt');
    });
  /** What the operator reads in a receipt. */
  const outcome = (bytes: Uint8Array, receipt: Uint8Array, membership: Membership = first) =>
    openCommandReceipt(
      suite,
      n.operator.hpkeKey,
      verifyCommandReceipt({ suite, membership, nowS }, parseCommand(suite, bytes), receipt),
    );
  /** With other content, signed by whom one likes. */
  const altered = (
    bytes: Uint8Array,
    change: (items: CborItem[]) => void,
    by: Pick<Principal, 'kid' | 'signer'> = n.operator,
  ) => {
    const items = [...(decodeStrict(payloadOf(bytes), limits.command) as readonly CborItem[])];
    change(items);
    return sign1(suite, by.signer, by.kid, { type: 'command', context: n.gid }, encode(items));
  };

  it('are done by each of their targets, which sign for them to the operator alone', () => {
    const bytes = command();
    for (const player of [meter, second]) {
      const { state, receipt } = done(bytes, player);
      expect(state.readingIntervalS).toBe(30);
      expect(outcome(bytes, receipt)).toEqual({ code: null, doneS: nowS });
      expect(receipt.length).toBeLessThanOrEqual(limits.commandReceipt);
    }
  });

  it('to a full cell fit into their limit', () => {
    const targets = Array.from({ length: limits.ringMembersHard }, () => random(32));
    expect(command({ targets }).length).toBeLessThanOrEqual(limits.command);
  });

  describe('an operator’s command that comes again', () => {
    const bytes = command();
    const { state, receipt } = done(bytes);

    it('gets the receipt that it got, also signed anew, after a restart, and when it has expired', () => {
      const again = done(
        altered(bytes, () => undefined),
        meter,
        decodeObeyingState(encodeObeyingState(state)),
      );
      expect(again.receipt).toEqual(receipt);
      expect(again.state).toEqual(state);
      expect(done(bytes, meter, state, { nowS: nowS + 40_000 }).receipt).toEqual(receipt);
    });

    it('is refused once a newer one was done and it is forgotten, and so is another of its number', () => {
      let later = state;
      for (let i = 1; i <= limits.commandsRemembered; i++) {
        later = done(command({ sequence: nextSequence(0, nowS) + i, operation: { name: 'ping' } }), meter, later).state;
      }
      expect(refused(bytes, meter, later)).toBe('command-overtaken');
      expect(refused(command({ operation: { name: 'ping' } }), meter, state)).toBe('command-overtaken');
      expect(later.readingIntervalS).toBe(30);
    });

    it('does not undo a newer one that came before it', () => {
      const newer = command({
        sequence: nextSequence(0, nowS) + 5,
        operation: { name: 'set-reading-interval', intervalS: 90 },
      });
      const { state: after } = done(newer);
      expect(refused(command(), meter, after)).toBe('command-overtaken');
    });

    it('is refused by a meter whose state came from a backup since', () => {
      expect(refused(bytes, meter, newObeyingState, { restoredS: nowS })).toBe('restored-lately');
      const later = nowS + limits.clockSkewS + 1;
      const fresh = command({ sequence: nextSequence(0, later), expiresS: later + 60 });
      expect(done(fresh, meter, newObeyingState, { restoredS: nowS, nowS: later }).state.readingIntervalS).toBe(30);
    });
  });

  it('are done within their time only, and may not last for ever', () => {
    const bytes = command();
    expect(done(bytes, meter, newObeyingState, { nowS: nowS + 3_600 + limits.clockSkewS }).receipt).toBeDefined();
    expect(refused(bytes, meter, newObeyingState, { nowS: nowS + 3_601 + limits.clockSkewS })).toBe('command-expired');
    expect(refused(bytes, meter, newObeyingState, { nowS: nowS - limits.clockSkewS - 1 })).toBe('command-early');
    expect(refused(command({ expiresS: nowS + limits.commandS + 1 }))).toBe('message-malformed');
    expect(refused(command({ expiresS: nowS - 1 }))).toBe('message-malformed');
  });

  it('have numbers that ascend with the time, so that an operator that lost its file is not behind', () => {
    const last = nextSequence(0, nowS) + 3;
    expect(nextSequence(last, nowS)).toBe(last + 1);
    expect(nextSequence(last, nowS - 60)).toBe(last + 1);
    expect(nextSequence(last, nowS + 1)).toBeGreaterThan(last);
    expect(issuedAtS(nextSequence(0, nowS + 1))).toBe(nowS + 1);
  });

  it('with a number that is far ahead block no other: its time is refused, and nothing is kept of it', () => {
    const far = command({ sequence: nextSequence(0, nowS + 10_000), expiresS: nowS + 11_000 });
    expect(refused(far)).toBe('command-early');
    expect(done(command()).state.readingIntervalS).toBe(30);
  });

  it('under a list that has ended are refused', () => {
    const ended = nowS + 3 * 31_536_000;
    const late = command({ sequence: nextSequence(0, ended), expiresS: ended + 60 });
    expect(refused(late, meter, newObeyingState, { nowS: ended })).toBe('membership-expired');
  });

  it('that were refused under a signature are not done later, whatever the clock says then', () => {
    const late = nowS + 3_601 + limits.clockSkewS;
    const bytes = command();
    const { state, receipt } = done(bytes, meter, newObeyingState, { nowS: late });
    expect(done(bytes, meter, state).state.readingIntervalS).toBeNull();
    expect(outcome(bytes, receipt).code).toBe('command-expired');
  });

  it('that this meter cannot do are answered so', () => {
    const change: Partial<ObeyingContext> = { unsupported: () => 'operation-unsupported' };
    expect(refused(command(), meter, newObeyingState, change)).toBe('operation-unsupported');
  });

  it('are for who is named in them', () => {
    expect(refused(command(), bystander)).toBe('not-a-target');
    const widened = altered(command(), (items) => (items[7] = [bystander.principal.certHash]));
    expect(refused(widened, bystander)).toBe('hpke-open-failed');
  });

  it.each([
    ['group', 0, 'wrong-group'],
    ['epoch', 1, 'hpke-open-failed'],
    ['attempt', 2, 'hpke-open-failed'],
    ['th2', 3, 'epoch-stale'],
    ['operator', 4, 'not-listed'],
    ['sequence', 5, 'hpke-open-failed'],
    ['end', 6, 'hpke-open-failed'],
    ['targets', 7, 'hpke-open-failed'],
    ['HPKE key', 8, suite.name === 'p256' ? 'key-invalid' : 'hpke-open-failed'],
    ['sealed operation', 9, 'hpke-open-failed'],
  ] as const)('with another %s are refused, even when the operator signs it', (_what, i, code) => {
    const bytes = altered(command(), (items) => {
      const item = items[i];
      if (typeof item === 'number') items[i] = item + 1;
      else if (item instanceof Uint8Array) items[i] = flipped(item, item.length > 32 ? 8 * 20 : 0);
      else items[i] = [meter.principal.certHash];
    });
    expect(refused(bytes)).toBe(code);
  });

  it('are refused when any bit of them has changed', () => {
    const bytes = command();
    for (let bit = 0; bit < bytes.length * 8; bit += 11) {
      expect(refused(flipped(bytes, bit))).toMatch(
        /^(cose|cbor|message)-|signature-invalid|not-listed|wrong-|algorithm/,
      );
    }
  });

  describe('somebody who is no operator', () => {
    const posing = (by: Pick<Principal, 'kid' | 'signer'>) => altered(command(), () => undefined, by);

    it('commands nobody: neither a member, nor the gateway, the backend, a reader or the authority', () => {
      for (const by of [bystander.principal, n.gateway, n.backend, n.utility, n.authority]) {
        expect(refused(makeCommand(suite, order({ operator: by }), random))).toBe('not-listed');
        expect(refused(posing(by))).toBe('wrong-signer');
        expect(refused(posing({ kid: n.operator.kid, signer: by.signer }))).toBe('signature-invalid');
      }
    });

    it('is also who the newest list names no more, or names in another role', () => {
      const list = n.list({ version: 2 });
      const without = n.membership({
        ...list,
        entries: list.entries.filter(({ roles }) => roles !== roleBit.operator),
      });
      expect(refused(command(), meter, newObeyingState, { membership: without })).toBe('not-listed');
      const asReader = n.membership({
        ...list,
        entries: list.entries.map((entry) =>
          entry.roles === roleBit.operator ? { ...entry, roles: roleBit.reader } : entry,
        ),
      });
      expect(refused(command(), meter, newObeyingState, { membership: asReader })).toBe('not-listed');
    });

    it('is another operator that signs what the first one sealed', () => {
      const other = n.certify('operator', 'operator-2');
      const list = n.list({ version: 2 });
      const entry = { certHash: other.certHash, roles: roleBit.operator, hpkeKey: n.utility.hpkeKey.hpkePublicKey };
      const membership = n.membership({ ...list, entries: [...list.entries, entry] }, [other]);
      const stolen = altered(command(), (items) => (items[4] = other.certHash), other);
      expect(refused(stolen, meter, newObeyingState, { membership })).toBe('hpke-open-failed');
    });
  });

  it('need an operator to whom receipts can be sealed', () => {
    const list = n.list({ version: 2 });
    const keyless = n.membership({
      ...list,
      entries: list.entries.map((entry) => (entry.roles === roleBit.operator ? { ...entry, hpkeKey: null } : entry)),
    });
    expect(refused(command(), meter, newObeyingState, { membership: keyless })).toBe('operator-keyless');
  });

  it('sealed to a later epoch than the meter has wait for it, and to one that is gone never open', () => {
    const bytes = command({ name: { ...name, epoch: 2, th2: random(32) } });
    expect(refused(bytes)).toBe('epoch-unknown');
    expect(refused(command({ name: { ...name, attempt: name.attempt, th2: random(32) } }))).toBe('epoch-stale');
    expect(refused(bytes, meter, newObeyingState, { keys: [] })).toBe('epoch-unknown');
  });

  it('open under the key before for as long as it receives', () => {
    const again = agree(neighbourhoodOf(suite, 4), { epoch: 2, players: players.map((player) => ({ ...player })) });
    const rekeyed = at(again.players, 0);
    expect(done(command(), rekeyed).state.readingIntervalS).toBe(30);
    const keys = keysOf(rekeyed).slice(0, 1);
    expect(refused(command(), rekeyed, newObeyingState, { keys })).toBe('epoch-stale');
  });

  it('to do what the meter does not know are answered so under its signature, and count as done', () => {
    const sealOf = (operation: CborItem) =>
      altered(command(), (items) => {
        const info = encode(['gridring1', 'command', ...items.slice(0, 8)]);
        const sealed = hpkeSeal(suite, groupPublicKey, info, new Uint8Array(0), encode(operation), random);
        [items[8], items[9]] = [sealed.enc, sealed.ciphertext];
      });
    const cases = [
      [['open-the-doors', []], 'operation-unknown'],
      [['constructor', []], 'operation-unknown'],
      [['set-reading-interval', [0]], 'parameter-invalid'],
      [['set-reading-interval', [30, 31]], 'parameter-invalid'],
      [['ping', [1]], 'parameter-invalid'],
    ] as const;
    for (const [operation, code] of cases) {
      const bytes = sealOf(operation);
      const { state, receipt } = done(bytes);
      expect(outcome(bytes, receipt)).toEqual({ code, doneS: nowS });
      expect(state.readingIntervalS).toBeNull();
      expect(done(bytes, meter, state).receipt).toEqual(receipt);
    }
    for (const operation of [[], ['constructor'], ['Ping', []], ['__proto__', []], 'ping', [null, []]]) {
      expect(refused(sealOf(operation))).toBe('message-malformed');
    }
  });

  describe('a relay', () => {
    it('checks who commands, and reads nothing of it', () => {
      const bytes = command();
      const relayed = verifyCommand({ suite, membership: first, nowS }, bytes);
      expect(relayed.targets).toHaveLength(2);
      const [ping, interval] = [command({ operation: { name: 'ping' } }), bytes].map((each) =>
        parseCommand(suite, each),
      );
      expect(ping?.enc).not.toEqual(interval?.enc);
      expect(Buffer.from(bytes).includes('set-reading-interval')).toBe(false);
    });

    it('makes up no receipt, and moves none to another command, meter or operator', () => {
      const bytes = command();
      const { receipt } = done(bytes);
      const other = command({ sequence: nextSequence(0, nowS) + 1 });
      expect(refusal(() => outcome(other, receipt))).toBe('receipt-mismatch');
      const parsed = verifyCommand({ suite, membership: first, nowS }, bytes);
      const outcomeOf = { code: null, doneS: nowS };
      const byBystander = makeCommandReceipt(suite, bystander.principal, parsed, outcomeOf, random);
      expect(refusal(() => outcome(bytes, byBystander))).toBe('receipt-mismatch');
      const posing = { ...second.principal, certHash: meter.principal.certHash };
      expect(refusal(() => outcome(bytes, makeCommandReceipt(suite, posing, parsed, outcomeOf, random)))).toBe(
        'wrong-signer',
      );
      const forged = { ...n.gateway, certHash: meter.principal.certHash, kid: meter.principal.kid };
      expect(refusal(() => outcome(bytes, makeCommandReceipt(suite, forged, parsed, outcomeOf, random)))).toBe(
        'signature-invalid',
      );
      const toThief = makeCommandReceipt(
        suite,
        meter.principal,
        { ...parsed, replyKey: n.utility.hpkeKey.hpkePublicKey },
        outcomeOf,
        random,
      );
      expect(refusal(() => outcome(bytes, toThief))).toBe('hpke-open-failed');
      for (let bit = 0; bit < receipt.length * 8; bit += 11) {
        expect(refusal(() => outcome(bytes, flipped(receipt, bit)))).toMatch(/./);
      }
    });

    it('opens no receipt, and no other operator or reader does', () => {
      const { receipt } = done(command());
      const open = () => openCommandReceipt(suite, n.utility.hpkeKey, parseCommandReceipt(receipt));
      expect(refusal(open)).toBe('hpke-open-failed');
    });
  });

  it('name 1 to 64 targets, in the one order', () => {
    const targets = [meter, second].map(({ principal }) => principal.certHash);
    for (const bad of [[], [targets[0]!, targets[0]!], Array.from({ length: 65 }, () => random(32))]) {
      expect(refused(command({ targets: bad }))).toMatch(/message-malformed|too-large/);
    }
    const [high, low] = [...parseCommand(suite, command()).targets].reverse() as [Uint8Array, Uint8Array];
    expect(refused(altered(command(), (items) => (items[7] = [high, low])))).toBe('message-malformed');
  });

  it('of many operators leave their numbers for ever, and their receipts for a while', () => {
    const kept = { id: new Uint8Array(32), receipt: new Uint8Array(limits.commandReceipt) };
    const marks = Array.from({ length: 200 }, () => ({
      gid: n.gid,
      operator: random(32),
      sequence: 1,
      done: new Array<typeof kept>(limits.commandsRemembered).fill(kept),
    }));
    const { state } = done(command(), meter, { ...newObeyingState, marks });
    expect(state.marks).toHaveLength(201);
    expect(state.marks.filter(({ done: receipts }) => receipts.length > 0)).toHaveLength(limits.operatorsRemembered);
    const encoded = encodeObeyingState(state);
    expect(toHex(encodeObeyingState(decodeObeyingState(encoded)))).toBe(toHex(encoded));
  });
});
