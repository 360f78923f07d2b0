/** Everything that reads untrusted bytes, each with messages that it accepts. */
import { makeDeployment, nowS, random, type Deployment } from '../../bench/deployment.js';
import { decodeStrict, encode } from '../../crypto/cbor.js';
import { parseCertificate } from '../../crypto/certificate.js';
import { parseSign1, sign1 } from '../../crypto/cose.js';
import { parseChange, parseDelegation, signChange, signDelegation } from '../../crypto/delegation.js';
import { signEnrolment, verifyEnrolment } from '../../crypto/enrolment.js';
import { equalBytes, toHex, utf8 } from '../../crypto/bytes.js';
import { parseCheckpoint } from '../../crypto/envelope/checkpoint.js';
import {
  makeCommand,
  makeCommandReceipt,
  nextSequence,
  parseCommand,
  parseCommandReceipt,
} from '../../crypto/envelope/command.js';
import { decodeObeyingState, encodeObeyingState } from '../../crypto/envelope/obeying.js';
import { encodeOperation, parseOperation } from '../../crypto/envelope/operation.js';
import { parseGapReport } from '../../crypto/envelope/gap-report.js';
import { parseGrant } from '../../crypto/envelope/grant.js';
import { encodeUpload, parseReading, parseUpload } from '../../crypto/envelope/reading.js';
import {
  decodeSealingState,
  encodeSealingState,
  newSealingState,
  seal,
  sealGap,
  type SealingItem,
  type SealingStep,
} from '../../crypto/envelope/sealing.js';
import { decodeSenml, encodeSenml, type Reading } from '../../crypto/envelope/senml.js';
import { limits } from '../../crypto/limits.js';
import { parseMembershipBundle, parseMembershipList } from '../../crypto/membership.js';
import { announce, closeShares, onConfirmation, onShare, onToken } from '../../crypto/ring/coordinator.js';
import { encodeEndorsementBundle, parseEndorsementBundle } from '../../crypto/ring/endorsement.js';
import type { MemberContext } from '../../crypto/ring/member-context.js';
import {
  decodeMemberState,
  encodeMemberState,
  newMemberState,
  type MemberState,
} from '../../crypto/ring/member-state.js';
import { onAnnouncement, onConfirmations, onRoster, onTokens } from '../../crypto/ring/member.js';
import * as messages from '../../crypto/ring/messages.js';
import { parseRecord, verifyRecord } from '../../crypto/ring/record.js';
import * as requests from '../../crypto/ring/requests.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { bareMessage, parseMessage } from '../../servients/bindings/coap-message.js';
import { readEndpointQuery } from '../../things/endpoint-query.js';
import { parseLinks } from '../../things/link-format.js';
import { decodeQuarantine, encodeQuarantine } from '../../things/quarantine.js';

export interface Target {
  readonly name: string;
  readonly valid: readonly Uint8Array[];
  /** Takes the bytes, or throws a GridringError. */
  readonly parse: (bytes: Uint8Array) => unknown;
}

const suite = suiteX25519;

/** Of a fresh group of three; a finding therefore holds its own bytes. */
export function makeTargets(): readonly Target[] {
  const deployment = makeDeployment(suite, 3);
  const played = play(deployment);
  return [
    ...ringTargets(deployment, played),
    ...documentTargets(deployment),
    ...envelopeTargets(deployment, played),
    ...commandTargets(deployment, played),
  ];
}

interface Played {
  readonly contexts: readonly MemberContext[];
  readonly announcement: Uint8Array;
  readonly shared: readonly MemberState[];
  readonly shares: readonly Uint8Array[];
  readonly roster: Uint8Array;
  readonly tokenSent: readonly MemberState[];
  readonly tokens: readonly Uint8Array[];
  readonly tokenBundle: Uint8Array;
  readonly confirmed: readonly MemberState[];
  readonly confirmations: readonly Uint8Array[];
  readonly confirmationBundle: Uint8Array;
  readonly active: readonly MemberState[];
  readonly record: Uint8Array;
}

/** An honest epoch, with the members' states before each round. */
function play({ gid, gateway, meters, membership }: Deployment): Played {
  const coordinator = { suite, self: gateway, membership, nowS: nowS(), random };
  const contexts = meters.map((self) => ({ suite, self, membership, nowS: nowS(), random }));
  type Round = (context: MemberContext, state: MemberState, message: Uint8Array) => ReturnType<typeof onRoster>;
  const all = (round: Round, states: readonly MemberState[], message: Uint8Array) => {
    const steps = contexts.map((context, i) => round(context, states[i] ?? newMemberState(gid), message));
    return { states: steps.map(({ state }) => state), replies: steps.map(({ reply }) => reply) };
  };
  const announced = announce(coordinator, { epoch: 1, attempt: 1, reason: 'founding', expiryS: nowS() + 300 });
  const one = all(onAnnouncement, [], announced.announcementMessage);
  const inSession = closeShares(
    coordinator,
    one.replies.reduce((state, share) => onShare(coordinator, state, share), announced),
  );
  const two = all(onRoster, one.states, inSession.rosterMessage);
  const confirming = two.replies.reduce<ReturnType<typeof onToken>>(
    (state, token) => (state.kind === 'tokens' ? onToken(coordinator, state, token) : state),
    inSession,
  );
  if (confirming.kind !== 'confirmations') throw new TypeError(`an honest ring ended in ${confirming.kind}`);
  const three = all(onTokens, two.states, confirming.tokensMessage);
  const published = three.replies.reduce<ReturnType<typeof onConfirmation>>(
    (state, message) => (state.kind === 'confirmations' ? onConfirmation(coordinator, state, message) : state),
    confirming,
  );
  if (published.kind !== 'published') throw new TypeError(`an honest ring ended in ${published.kind}`);
  const four = all(onConfirmations, three.states, published.confirmationsMessage);
  return {
    contexts,
    announcement: announced.announcementMessage,
    shared: one.states,
    shares: one.replies,
    roster: inSession.rosterMessage,
    tokenSent: two.states,
    tokens: two.replies,
    tokenBundle: confirming.tokensMessage,
    confirmed: three.states,
    confirmations: three.replies,
    confirmationBundle: published.confirmationsMessage,
    active: four.states,
    record: published.record,
  };
}

const payloadOf = (message: Uint8Array): Uint8Array => parseSign1(message, limits.membership).payload;
const payloads = (all: readonly Uint8Array[]): readonly Uint8Array[] => all.map(payloadOf);

/** CBOR that is accepted must be the only form of what it says. */
function decodeAndCompare(bytes: Uint8Array): void {
  if (!equalBytes(encode(decodeStrict(bytes, limits.membership)), bytes))
    throw new TypeError('accepted in another form');
}

function ringTargets({ gid, gateway, membership }: Deployment, played: Played): readonly Target[] {
  const { announcement, shares, roster, tokens, tokenBundle, confirmations, confirmationBundle, record } = played;
  const signed = [announcement, ...shares, roster, ...tokens, tokenBundle, ...confirmations, confirmationBundle];
  const reveal = messages.encodeReveal({ sessionRef: random(8), secret: random(32) });
  const abort = messages.encodeAbort({ sessionRef: random(8), reason: 'sum', accused: null });
  const rekey = messages.encodeRekeyRequest({ gid, currentEpoch: 1, reason: 'request', timeS: nowS() });
  const leave = requests.encodeLeaveRequest({ gid, currentEpoch: 1, timeS: nowS() });
  const revoke = requests.encodeRevokeRequest({ gid, certHash: gateway.certHash, timeS: nowS() });
  const [context] = played.contexts;
  if (!context) throw new TypeError('a ring without members');
  /** A coordinator that signs whatever it likes. */
  const insider = (
    type: messages.MessageType,
    message: Uint8Array,
    reference: Uint8Array,
    step: (signed: Uint8Array) => unknown,
  ): Target => ({
    name: `${type} signed by the coordinator`,
    valid: [payloadOf(message)],
    parse: (payload) => step(sign1(suite, gateway.signer, gateway.kid, messages.contextOf(type, reference), payload)),
  });
  const stateOf = (states: readonly MemberState[]): MemberState => states[0] ?? newMemberState(gid);
  const shared = stateOf(played.shared);
  const tokenSent = stateOf(played.tokenSent);
  const annId = 'annId' in shared.round ? shared.round.annId : gid;
  const th1 = tokenSent.round.kind === 'tokenSent' ? tokenSent.round.ring.th1 : gid;
  return [
    { name: 'cbor', valid: payloads(signed), parse: decodeAndCompare },
    { name: 'cose', valid: signed, parse: (bytes) => parseSign1(bytes, limits.bundle) },
    { name: 'announcement', valid: payloads([announcement]), parse: messages.parseAnnouncement },
    { name: 'share', valid: payloads(shares), parse: messages.parseShare },
    { name: 'token', valid: payloads(tokens), parse: messages.parseToken },
    { name: 'confirmation', valid: payloads(confirmations), parse: messages.parseConfirmation },
    { name: 'reveal', valid: [reveal], parse: messages.parseReveal },
    { name: 'abort', valid: [abort], parse: messages.parseAbort },
    { name: 'rekey request', valid: [rekey], parse: messages.parseRekeyRequest },
    { name: 'leave request', valid: [leave], parse: requests.parseLeaveRequest },
    { name: 'revoke request', valid: [revoke], parse: requests.parseRevokeRequest },
    { name: 'roster bundle', valid: payloads([roster]), parse: messages.parseRosterBundle },
    { name: 'token bundle', valid: payloads([tokenBundle]), parse: messages.parseTokenBundle },
    { name: 'confirmation bundle', valid: payloads([confirmationBundle]), parse: messages.parseConfirmationBundle },
    { name: 'record', valid: [record], parse: parseRecord },
    { name: 'record, verified', valid: [record], parse: (bytes) => verifyRecord(suite, membership, bytes, nowS()) },
    insider('announcement', announcement, gid, (bytes) => onAnnouncement(context, newMemberState(gid), bytes)),
    insider('roster', roster, annId, (bytes) => onRoster(context, shared, bytes)),
    insider('tokens', tokenBundle, th1, (bytes) => onTokens(context, tokenSent, bytes)),
    {
      name: 'confirmations of whom the member trusts',
      valid: [confirmationBundle],
      parse: (bytes) => onConfirmations(context, stateOf(played.confirmed), bytes),
    },
    {
      name: 'member state',
      valid: [...played.confirmed, ...played.active].map(encodeMemberState),
      parse: decodeMemberState,
    },
  ];
}

function documentTargets(deployment: Deployment): readonly Target[] {
  const { root, gid, gateway, meters, membership, membershipBundle } = deployment;
  const [meter] = meters;
  if (!meter) throw new TypeError('a deployment without meters');
  const td = JSON.stringify({ id: `urn:gridring:meter:${meter.id}` });
  const enrolment = signEnrolment(suite, meter, { certificates: meter.certificates, td, timeS: nowS() });
  const { listMessage } = parseMembershipBundle(membershipBundle);
  const members = meters.map(({ certHash }) => certHash);
  const { listHash: baseHash } = membership;
  const delegation = signDelegation(suite, gateway, {
    ...{ gid, gateway: gateway.certHash, baseVersion: 1, baseHash, notAfterS: nowS(), mayRemove: true },
    additions: members,
  });
  const bound = { delegationHash: random(32), baseHash, revision: 1, removals: members, additions: members };
  const change = signChange(suite, gateway, gid, bound);
  const standing = (member: Uint8Array) => ({ member, dropouts: 2, untilS: nowS(), convictedUnder: 1 });
  const check = { suite, trustedRoots: [root], nowS: nowS() };
  return [
    { name: 'certificate', valid: [...gateway.certificates, root.der], parse: (der) => parseCertificate(suite, der) },
    { name: 'membership bundle', valid: [membershipBundle], parse: parseMembershipBundle },
    { name: 'membership list', valid: payloads([listMessage]), parse: parseMembershipList },
    { name: 'enrolment', valid: [enrolment], parse: (bytes) => verifyEnrolment(check, bytes) },
    {
      name: 'endorsement bundle',
      valid: [encodeEndorsementBundle(listMessage.slice(0, 200), gateway.certificates)],
      parse: parseEndorsementBundle,
    },
    { name: 'delegation', valid: payloads([delegation]), parse: parseDelegation },
    { name: 'change under a delegation', valid: payloads([change]), parse: parseChange },
    {
      name: 'quarantine',
      valid: [encodeQuarantine(new Map(members.map((member) => [toHex(member), standing(member)])))],
      parse: decodeQuarantine,
    },
    {
      name: 'CoAP message',
      valid: [
        bareMessage('con', '0.02', 7, Buffer.from('token')),
        Buffer.from('44020001746f6b65b372656b11ff01', 'hex'),
      ],
      parse: (bytes) => parseMessage(Buffer.from(bytes)),
    },
    {
      name: 'links',
      valid: [utf8('</a/b>;rt="x y";ct=40;title="a \\"b\\"";obs,<coap://h/t>;anchor="/a";rel=describedby')],
      parse: parseLinks,
    },
    {
      name: 'query of an endpoint',
      valid: [utf8('ep=node&d=cellar&lt=600&base=coap://[2001:db8::1]:61616&et=lamp')],
      parse: (bytes) => readEndpointQuery(new TextDecoder().decode(bytes).split('&')),
    },
  ];
}

function envelopeTargets({ meters, membership }: Deployment, { active }: Played): readonly Target[] {
  const [self, name] = [meters[0], active[0]?.active?.name];
  if (!self || !name) throw new TypeError('a deployment without a key');
  const base = { intervalS: 60, energyTotalWh: 2, source: 'replay' } as const;
  const measured = {
    ...base,
    missing: false,
    energyWh: 1,
    powerW: 60,
    reactivePowerVar: 2,
    voltageV: 230,
    currentA: 0.3,
  } as const;
  const readings: readonly Reading[] = [
    { ...measured, timeS: 1_767_225_600 },
    { ...base, timeS: 1_767_225_660, missing: true },
  ];
  const context = { suite, self, membership, activeKey: name, random };
  // The first reading ends a day: a checkpoint follows.
  const sealed = readings.reduce<Omit<SealingStep, 'consumed'>>(
    (before, reading) => {
      const { state, items } = seal(context, before.state, reading);
      return { state, items: [...before.items, ...items] };
    },
    { state: newSealingState, items: [] },
  );
  const gap = { cause: 'source-silent', sinceS: 1_767_225_660, untilS: null, quantities: ['1-0:1.8.1'] } as const;
  const { state, items: reported } = sealGap(context, sealed.state, gap);
  const items = [...sealed.items, ...reported];
  const ofKind = (...kinds: readonly SealingItem['kind'][]): readonly Uint8Array[] =>
    items.filter(({ kind }) => kinds.includes(kind)).map(({ message }) => message);
  const upload = encodeUpload({ grants: ofKind('grant'), readings: ofKind('reading', 'checkpoint', 'gap') });
  return [
    { name: 'grant', valid: ofKind('grant'), parse: parseGrant },
    { name: 'reading', valid: ofKind('reading'), parse: (bytes) => parseReading(suite, bytes) },
    { name: 'gap report', valid: ofKind('gap'), parse: (bytes) => parseGapReport(suite, bytes) },
    { name: 'checkpoint', valid: ofKind('checkpoint'), parse: (bytes) => parseCheckpoint(suite, bytes) },
    { name: 'upload', valid: [upload], parse: parseUpload },
    { name: 'SenML', valid: [encodeSenml({ meterId: self.id, readings: readings.slice(0, 1) })], parse: decodeSenml },
    { name: 'sealing state', valid: [encodeSealingState(state)], parse: decodeSealingState },
  ];
}

function commandTargets({ meters, gateway }: Deployment, { active }: Played): readonly Target[] {
  const [self, key] = [meters[0], active[0]?.active];
  if (!self || !key) throw new TypeError('a deployment without a key');
  const operation = { name: 'set-reading-interval', intervalS: 60 } as const;
  const order = {
    ...{ name: key.name, groupPublicKey: key.groupPublicKey, operator: gateway, operation },
    ...{ sequence: nextSequence(0, nowS()), expiresS: nowS() + 60, targets: meters.map(({ certHash }) => certHash) },
  };
  const command = makeCommand(suite, order, random);
  const verified = { ...parseCommand(suite, command), replyKey: key.groupPublicKey };
  const receipt = makeCommandReceipt(suite, self, verified, { code: null, doneS: nowS() }, random);
  const done = [{ id: verified.id, receipt }];
  const mark = { gid: key.name.gid, operator: gateway.certHash, sequence: order.sequence, done };
  return [
    { name: 'command', valid: [command], parse: (bytes) => parseCommand(suite, bytes) },
    {
      name: 'operation',
      valid: [encodeOperation(operation), encodeOperation({ name: 'ping' })],
      parse: parseOperation,
    },
    { name: 'receipt of a command', valid: [receipt], parse: parseCommandReceipt },
    {
      name: 'stored commands',
      valid: [encodeObeyingState({ marks: [mark], readingIntervalS: 60 })],
      parse: decodeObeyingState,
    },
  ];
}
