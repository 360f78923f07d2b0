/**
 * The network and the coordinator in one hand, with real members: what was sent can arrive late, never, again, altered or
 * at the wrong place; rosters and bundles are made at will from all that was ever said; members crash; time passes. An
 * insider lends its signing key where the profile claims to stand that.
 */
import { equalBytes, toHex } from '../../crypto/bytes.js';
import { GridringError } from '../../crypto/errors.js';
import type { Membership } from '../../crypto/membership.js';
import { judge, signVerdict, verifyVerdict, type Judgement } from '../../crypto/ring/blame.js';
import { announce } from '../../crypto/ring/coordinator.js';
import type { MemberStep } from '../../crypto/ring/member-context.js';
import {
  decodeMemberState,
  memberRef,
  encodeMemberState,
  newMemberState,
  type Attempt,
  type MemberState,
} from '../../crypto/ring/member-state.js';
import { onAnnouncement, onConfirmations, onMembership, onRoster, onTime, onTokens } from '../../crypto/ring/member.js';
import {
  encodeReveal,
  parseReveal,
  parseShare,
  type ConfirmationEntry,
  type RosterEntry,
} from '../../crypto/ring/messages.js';
import { ringIndexOf, type Ring } from '../../crypto/ring/roster.js';
import { announcementId } from '../../crypto/ring/schedule.js';
import {
  at,
  confirmationEntryOf,
  flipped,
  ordered,
  payloadOf,
  resignToken,
  signAs,
  signatureOf,
  signConfirmations,
  signRoster,
  signTokens,
  tokenEntryOf,
  unsigned,
} from '../support/forge.js';
import { nowS, seededRandom, type Neighbourhood, type Principal } from '../support/neighbourhood.js';

/** A finding, in the words of the rule that it breaks. */
class RuleBroken extends Error {}

export interface Action {
  readonly op: (typeof operations)[number];
  readonly a: number;
  readonly b: number;
  readonly c: number;
}

export const operations = [
  'announce',
  'deliverAnnouncement',
  'makeRoster',
  'deliverRoster',
  'makeTokens',
  'deliverTokens',
  'makeConfirmations',
  'deliverConfirmations',
  'misdeliver',
  'restart',
  'wait',
  'updateList',
  'goOn',
  'finish',
  'judge',
] as const;

interface Announced {
  readonly membership: Membership;
  readonly message: Uint8Array;
  readonly annId: Uint8Array;
  readonly shares: Map<number, RosterEntry>;
}

/** One th1: a roster as one member may have seen it. */
interface Session {
  readonly ring: Ring;
  readonly rosterMessage: Uint8Array;
  readonly tokens: Map<number, Uint8Array>;
  readonly reveals: Map<number, Uint8Array>;
}

/** One th2. */
interface Confirmable {
  readonly ring: Ring;
  readonly th2: Uint8Array;
  readonly confirmations: Map<number, ConfirmationEntry>;
}

export interface Tally {
  activations: number;
  aborts: number;
  reveals: number;
  restarts: number;
  refusals: number;
  verdicts: number;
}

interface Actor {
  readonly principal: Principal;
  state: MemberState;
  membership: Membership;
}

/** See `#makeTokens`: neither altered nor signed. */
const honestTokens = 9;
/** A mask with every bit set. */
const everybody = -1;

const rounds = [onAnnouncement, onRoster, onTokens, onConfirmations] as const;
const isLower = (a: Attempt, b: Attempt): boolean =>
  a.epoch < b.epoch || (a.epoch === b.epoch && a.attempt < b.attempt);

export class Adversary {
  readonly #n: Neighbourhood;
  readonly #lists: readonly Membership[];
  readonly #insider: Principal | undefined;
  readonly #tally: Tally;
  readonly #random = seededRandom('adversary');
  readonly #actors: readonly Actor[];
  #nowS = nowS;
  readonly #announced: Announced[] = [];
  readonly #rosters: Uint8Array[] = [];
  readonly #sessions = new Map<string, Session>();
  readonly #bundles: Uint8Array[] = [];
  readonly #confirmables = new Map<string, Confirmable>();
  readonly #ends: Uint8Array[] = [];
  readonly #said: Uint8Array[] = [];
  /** (epoch, attempt) → the one key that anybody may hold for it. */
  readonly #keys = new Map<string, string>();
  /** `member/what it answers` → the one payload that it may have signed. */
  readonly #answers = new Map<string, string>();
  readonly #revealed = new Map<string, Actor>();
  readonly #activeSessions = new Set<string>();

  constructor(n: Neighbourhood, lists: readonly Membership[], insider: Principal | undefined, tally: Tally) {
    this.#n = n;
    this.#lists = lists;
    this.#insider = insider;
    this.#tally = tally;
    this.#actors = n.meters.map((principal) => ({
      principal,
      state: newMemberState(n.gid),
      membership: at(lists, 0),
    }));
  }

  /** @throws RuleBroken */
  act({ op, a, b, c }: Action): void {
    const actor = at(this.#actors, b % this.#actors.length);
    switch (op) {
      case 'announce':
        this.#announce({ epoch: 1 + (a % 2), attempt: 1 + (b % 4) }, at(this.#lists, c % this.#lists.length));
        break;
      case 'deliverAnnouncement':
        this.#deliver(actor, 0, pick(this.#announced, a)?.message);
        break;
      case 'makeRoster':
        this.#makeRosters(pick(this.#announced, a), b);
        break;
      case 'deliverRoster':
        this.#deliver(actor, 1, pick(this.#rosters, a));
        break;
      case 'makeTokens':
        this.#makeTokens(pick([...this.#sessions.values()], a), b, c);
        break;
      case 'deliverTokens':
        this.#deliver(actor, 2, pick(this.#bundles, a));
        break;
      case 'makeConfirmations':
        this.#makeConfirmations(pick([...this.#confirmables.values()], a), b);
        break;
      case 'deliverConfirmations':
        this.#deliver(actor, 3, pick(this.#ends, a));
        break;
      case 'misdeliver': {
        const message = pick(this.#said, a);
        this.#deliver(
          actor,
          c % rounds.length,
          message && (c % 3 === 0 ? message : flipped(message, c % (message.length * 8))),
        );
        break;
      }
      case 'restart':
        actor.state = decodeMemberState(encodeMemberState(actor.state));
        this.#tally.restarts++;
        break;
      case 'wait':
        this.#nowS += c % 200;
        this.#keep(actor, onTime(actor.state, this.#nowS));
        break;
      case 'updateList':
        this.#adopt(actor, at(this.#lists, c % this.#lists.length));
        break;
      case 'finish':
        this.#finish(pick(this.#announced, a));
        break;
      case 'goOn':
        this.#goOn(
          pick(this.#announced, a),
          b % 2 === 0 ? b >> 1 : honestTokens,
          (i) => c % 3 > 0 || ((c >> i) & 1) === 0,
        );
        break;
      case 'judge':
        this.#judge(pick([...this.#sessions.values()], a), b, c);
        break;
    }
  }

  /** An attempt above all others, of an honest coordinator on an honest network: everybody must become active with one key. */
  endFairly(): void {
    const newest = at(this.#lists, this.#lists.length - 1);
    for (const actor of this.#actors) this.#adopt(actor, newest);
    const epoch = Math.max(...this.#actors.map(({ state }) => state.highWater.epoch)) + 1;
    this.#announce({ epoch, attempt: 1 }, newest);
    this.#finish(this.#announced.at(-1));
    const keys = new Set(
      this.#actors.map(({ state: { active } }) => (active?.name.epoch === epoch ? toHex(active.groupKey) : 'none')),
    );
    if (keys.size !== 1 || keys.has('none')) throw new RuleBroken('a fair run did not end with one key for all');
  }

  #announce({ epoch, attempt }: Attempt, membership: Membership): void {
    const context = { ...this.#n.coordinatorContext(membership), nowS: this.#nowS, random: this.#random };
    const { announcementMessage, annId } = announce(context, {
      epoch,
      attempt,
      reason: 'retry',
      expiryS: this.#nowS + 120,
    });
    this.#announced.push({ membership, message: announcementMessage, annId, shares: new Map() });
    this.#said.push(announcementMessage);
  }

  /** Of those with their bit in `mask`, and, to split the group, of the others. */
  #makeRosters(announced: Announced | undefined, mask: number): void {
    if (!announced) return;
    const { annId, membership, shares } = announced;
    for (const side of [1, 0]) {
      const entries = [...shares.values()].filter((_, i) => ((mask >> i) & 1) === side);
      if (entries.length < 2) continue;
      const message = signRoster(this.#n, annId, ordered(this.#n, membership, annId, entries));
      this.#rosters.push(message);
      this.#said.push(message);
    }
  }

  /** Of all tokens of a session, or some other's in place of one; signed or not; one altered, or by an insider. */
  #makeTokens(session: Session | undefined, how: number, bit: number): void {
    if (!session) return;
    const { ring, tokens } = session;
    const entries = ring.members.flatMap(({ certHash }, i) => {
      const token = tokens.get(i);
      if (!token) return [];
      const insider = this.#insider && equalBytes(certHash, this.#insider.certHash) ? this.#insider : undefined;
      if (!insider || how % 3 !== 1) return [tokenEntryOf(token)];
      const lie = resignToken(this.#n, ring, insider, token, (parts) => ({ token: flipped(parts.token, bit % 256) }));
      return [tokenEntryOf(lie)];
    });
    if (entries.length < ring.members.length) return;
    const alters = how % 3 === (this.#insider ? 2 : 1);
    const altered = entries.map((entry, i) =>
      alters && i === bit % entries.length ? { ...entry, token: flipped(entry.token, bit % 256) } : entry,
    );
    const message = signTokens(this.#n, ring, how % 2 === 0 ? altered : unsigned(altered));
    this.#bundles.push(message);
    this.#said.push(message);
  }

  /**
   * A verdict about a session, from some of its reveals and a false one, over tokens of which the insider has signed
   * others; then one that names somebody innocent as well.
   */
  #judge(session: Session | undefined, how: number, mask: number): void {
    const announced = session && this.#announced.find(({ annId }) => equalBytes(annId, session.ring.annId));
    if (!session || !announced || session.tokens.size < session.ring.members.length) return;
    const { suite, gateway } = this.#n;
    const { ring, rosterMessage } = session;
    const position = this.#insider ? ringIndexOf(ring, this.#insider.certHash) : -1;
    const tokens = ring.members.map((_, i) => tokenEntryOf(this.#tokenToJudge(session, i, i === position ? how : 0)));
    const shown = new Map([...session.reveals].filter(([i]) => ((mask >> i) & 1) === 1));
    if (this.#insider && position >= 0 && how % 3 === 0) {
      const payload = encodeReveal({ sessionRef: ring.sid.slice(0, 8), secret: this.#random(32) });
      shown.set(position, signAs(suite, this.#insider, 'reveal', ring.th1, payload));
    }
    const reveals = [...shown].sort(([a], [b]) => a - b);
    const secrets = new Map(reveals.map(([i, message]) => [i, parseReveal(payloadOf(message)).secret]));
    const judgement = judge(suite, ring, tokens, secrets) ?? { accused: [], silent: [] };
    const isInsider = (certHash: Uint8Array): boolean =>
      this.#insider !== undefined && equalBytes(certHash, this.#insider.certHash);
    if (judgement.accused.some(({ certHash }) => !isInsider(certHash))) throw new RuleBroken('an innocent is accused');
    const verifies = (said: Judgement): boolean => {
      const verdict = signVerdict(suite, gateway, ring.th1, {
        ...said,
        sid: ring.sid,
        evidence: [announced.message, rosterMessage, signTokens(this.#n, ring, tokens)],
        reveals: reveals.map(([, message]) => message),
      });
      try {
        verifyVerdict(suite, announced.membership, verdict, this.#nowS);
        return true;
      } catch (error) {
        if (!(error instanceof GridringError)) throw error;
        return false;
      }
    };
    const names = judgement.accused.length + judgement.silent.length > 0;
    if (names) this.#tally.verdicts++;
    if (verifies(judgement) !== names)
      throw new RuleBroken('a verdict verifies that says nothing, or a true one does not');
    const { certHash } = at(ring.members, (position + 1 + mask) % ring.members.length);
    const accused = [{ certHash, accusation: 'token' } as const, ...judgement.accused];
    if (!isInsider(certHash) && verifies({ ...judgement, accused })) throw new RuleBroken('an innocent was convicted');
  }

  /** The token of a member, or, where `lie` says so, another that the insider has signed. */
  #tokenToJudge({ ring, tokens }: Session, position: number, lie: number): Uint8Array {
    const token = tokens.get(position) ?? new Uint8Array(0);
    if (!this.#insider || lie % 4 === 0) return token;
    const field = (['token', 'leftTag', 'opening'] as const)[(lie % 4) - 1] ?? 'token';
    return resignToken(this.#n, ring, this.#insider, token, (parts) => ({ [field]: flipped(parts[field]) }));
  }

  /** Of all that were heard; where `least` is a multiple of 4, even of fewer than the roster has. */
  #makeConfirmations(confirmable: Confirmable | undefined, least: number): void {
    if (!confirmable) return;
    const { ring, th2, confirmations } = confirmable;
    const entries = ring.members.flatMap((_, i) => confirmations.get(i) ?? []);
    if (entries.length < ring.members.length && (least % 4 !== 0 || entries.length < 2)) return;
    const name = { gid: this.#n.gid, epoch: 0, attempt: 0, th2 };
    const message = signConfirmations(this.#n, { ring, name }, entries);
    this.#ends.push(message);
    this.#said.push(message);
  }

  /** The next step of one attempt for those in `hears`; the tokens as `how` says. */
  #goOn(announced: Announced | undefined, how: number, hears: (i: number) => boolean): void {
    if (!announced) return;
    const actors = this.#actors.filter((_, i) => hears(i));
    for (const actor of actors) this.#deliver(actor, 0, announced.message);
    const isIn = (kind: string): boolean =>
      actors.some(
        ({ state: { round } }) =>
          round.kind !== 'idle' && round.kind === kind && equalBytes(round.annId, announced.annId),
      );
    if (isIn('shared')) {
      const before = this.#rosters.length;
      this.#makeRosters(announced, how % 3 === 0 ? everybody : how >> 2);
      for (const roster of this.#rosters.slice(before)) {
        for (const actor of actors) this.#deliver(actor, 1, roster);
      }
    } else if (isIn('tokenSent') || isIn('aborted')) {
      const before = this.#bundles.length;
      for (const session of this.#ofAttempt(this.#sessions, announced)) this.#makeTokens(session, how, how >> 2);
      for (const bundle of this.#bundles.slice(before)) {
        for (const actor of actors) this.#deliver(actor, 2, bundle);
      }
      for (const session of this.#ofAttempt(this.#sessions, announced)) this.#judge(session, how, how >> 1);
    } else if (isIn('confirmed')) {
      const before = this.#ends.length;
      for (const confirmable of this.#ofAttempt(this.#confirmables, announced)) this.#makeConfirmations(confirmable, 1);
      for (const end of this.#ends.slice(before)) {
        for (const actor of actors) this.#deliver(actor, 3, end);
      }
    }
  }

  #finish(announced: Announced | undefined): void {
    rounds.forEach(() => {
      this.#goOn(announced, honestTokens, () => true);
    });
  }

  #ofAttempt<T extends { readonly ring: Ring }>(known: ReadonlyMap<string, T>, { annId }: Announced): readonly T[] {
    return [...known.values()].filter(({ ring }) => equalBytes(ring.annId, annId));
  }

  #adopt(actor: Actor, membership: Membership): void {
    this.#refusable(() => {
      const step = onMembership(actor.state, membership);
      actor.membership = membership;
      this.#keep(actor, step);
    });
  }

  #deliver(actor: Actor, round: number, message: Uint8Array | undefined): void {
    if (!message) return;
    const { suite } = this.#n;
    const { principal: self, membership } = actor;
    const context = { suite, self, membership, nowS: this.#nowS, random: this.#random };
    this.#refusable(() => {
      const before = actor.state;
      const step = at(rounds, round)(context, before, message);
      this.#keep(actor, step);
      this.#hear(actor, before, step, message);
    });
  }

  #refusable(act: () => void): void {
    try {
      act();
    } catch (error) {
      if (!(error instanceof GridringError)) throw error;
      this.#tally.refusals++;
    }
  }

  /** What a step must never do, whatever led to it. */
  #keep(actor: Actor, { state, consumed }: MemberStep): void {
    const { highWater, active } = actor.state;
    if (isLower(state.highWater, highWater)) throw new RuleBroken('a high water mark fell');
    if (active && (!state.active || isLower(state.active.name, active.name))) {
      throw new RuleBroken('an active key gave way to none or to an older one');
    }
    actor.state = state;
    for (const secret of consumed) secret.fill(0);
    if (!state.active || state.active.sid === active?.sid) return;
    this.#tally.activations++;
    const { name, groupKey, roster, sid } = state.active;
    this.#once(this.#keys, `${name.epoch}.${name.attempt}`, toHex(groupKey), 'two keys are active for one attempt');
    if (groupKey.every((byte) => byte === 0)) throw new RuleBroken('a key that was erased became active');
    const isIn = roster.some((ref) => equalBytes(ref, memberRef(actor.principal.certHash)));
    if (!isIn) throw new RuleBroken('a member is active under a roster that lacks it');
    this.#activeSessions.add(toHex(sid));
    if (this.#revealed.has(toHex(sid))) throw new RuleBroken('a session is active of which an ephemeral was revealed');
  }

  /** Files what a member answered, and checks that it answered once. */
  #hear(actor: Actor, before: MemberState, { state, reply }: MemberStep, message: Uint8Array): void {
    if (reply.length === 0) return;
    this.#said.push(reply);
    const { round } = state;
    const sender = toHex(actor.principal.kid);
    const payload = payloadOf(reply);
    const answersOnce = (what: string): void => {
      this.#once(this.#answers, `${sender}/${what}`, toHex(payload), 'a member answered one thing in two ways');
    };
    if (round.kind === 'idle') throw new RuleBroken('an answer from idle');
    if (round.kind === 'revealed') {
      if ('ring' in before.round) this.#heardReveal(actor, before.round.ring, reply);
      else if (before.round !== round) throw new RuleBroken('a reveal of a session that it was not in');
      answersOnce(`reveal ${toHex(round.annId)}`);
    } else if (round.kind === 'confirmed') {
      this.#heardConfirmation(actor, round.sid, round.name.th2, reply);
      answersOnce(`confirm ${toHex(round.sid)}`);
    } else if (round.kind === 'aborted' && reply === round.abortReply) {
      this.#tally.aborts++;
      answersOnce(`abort ${toHex(round.ring.sid)}`);
    } else if (round.kind !== 'shared' && reply === round.tokenReply) {
      const key = toHex(round.ring.th1);
      const session = this.#sessions.get(key) ?? {
        ring: round.ring,
        rosterMessage: message,
        tokens: new Map<number, Uint8Array>(),
        reveals: new Map<number, Uint8Array>(),
      };
      this.#sessions.set(key, session);
      session.tokens.set(round.index, reply);
      answersOnce(`roster ${toHex(round.annId)}`);
    } else {
      const annId = announcementId(this.#n.suite, payloadOf(message));
      const announced = this.#announced.find((known) => equalBytes(known.annId, annId));
      const listIndex = actor.membership.list.entries.findIndex(({ certHash }) =>
        equalBytes(certHash, actor.principal.certHash),
      );
      announced?.shares.set(listIndex, { ...parseShare(payload), listIndex, signature: signatureOf(reply) });
      answersOnce(`announcement ${round.announcement.epoch}.${round.announcement.attempt}`);
    }
  }

  #heardReveal(actor: Actor, ring: Ring, reveal: Uint8Array): void {
    const { sid, th1 } = ring;
    this.#tally.reveals++;
    this.#sessions.get(toHex(th1))?.reveals.set(ringIndexOf(ring, actor.principal.certHash), reveal);
    if (!this.#insider) throw new RuleBroken('an honest ring was made to reveal an ephemeral');
    this.#revealed.set(toHex(sid), actor);
    if (this.#activeSessions.has(toHex(sid))) throw new RuleBroken('an ephemeral of an active session was revealed');
    if (this.#answers.has(`${toHex(actor.principal.kid)}/confirm ${toHex(sid)}`)) {
      throw new RuleBroken('a member revealed after its confirmation');
    }
  }

  #heardConfirmation(actor: Actor, sid: Uint8Array, th2: Uint8Array, reply: Uint8Array): void {
    if (this.#revealed.get(toHex(sid)) === actor) throw new RuleBroken('a member confirmed after it revealed');
    const session = [...this.#sessions.values()].find(
      ({ ring }) =>
        equalBytes(ring.sid, sid) &&
        ring.members.some(({ certHash }) => equalBytes(certHash, actor.principal.certHash)),
    );
    if (!session) throw new RuleBroken('a confirmation of a session that nobody knows');
    const confirmable = this.#confirmables.get(toHex(th2)) ?? {
      ring: session.ring,
      th2,
      confirmations: new Map<number, ConfirmationEntry>(),
    };
    this.#confirmables.set(toHex(th2), confirmable);
    const index = session.ring.members.findIndex(({ certHash }) => equalBytes(certHash, actor.principal.certHash));
    confirmable.confirmations.set(index, confirmationEntryOf(reply));
  }

  #once(known: Map<string, string>, key: string, value: string, rule: string): void {
    const before = known.get(key);
    if (before !== undefined && before !== value) throw new RuleBroken(`${rule}: ${key}`);
    known.set(key, value);
  }
}

/** Mostly one of the newest, where most can still happen. */
function pick<T>(items: readonly T[], i: number): T | undefined {
  const back = i % 4 === 0 ? i % items.length : Math.min(i % 3, items.length - 1);
  return items[items.length - 1 - back];
}
