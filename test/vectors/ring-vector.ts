/**
 * What stands in `ring/*.json`: from the inputs, one whole run of an epoch with every value of docs/protocol.md §4, a grant
 * and an envelope. Played by the real members and coordinator; `recompute.py` does the same without any of our code.
 */
import { concatBytes, equalBytes, fromHex, toHex } from '../../crypto/bytes.js';
import { parseCertificate } from '../../crypto/certificate.js';
import type { EntrySigner } from '../../crypto/envelope/chain.js';
import { dayOf, makeCheckpoint } from '../../crypto/envelope/checkpoint.js';
import { verifyEntry } from '../../crypto/envelope/entry.js';
import { makeGapReport } from '../../crypto/envelope/gap-report.js';
import { makeGrant, openGrant, parseGrant } from '../../crypto/envelope/grant.js';
import {
  encodeUpload,
  openReading,
  parseReading,
  sealReading,
  signReceipt,
  verifyReceipt,
} from '../../crypto/envelope/reading.js';
import { hash, hkdfExtract } from '../../crypto/hash.js';
import {
  certificateOf,
  encodeMembershipBundle,
  signMembershipList,
  verifyMembership,
  type Membership,
} from '../../crypto/membership.js';
import type { CoordinatorContext, CoordinatorState, Published } from '../../crypto/ring/coordinator-state.js';
import { announce, closeShares, onConfirmation, onShare, onToken } from '../../crypto/ring/coordinator.js';
import type { MemberContext } from '../../crypto/ring/member-context.js';
import {
  newMemberState,
  type Confirmed,
  type MemberState,
  type Round,
  type TokenSent,
} from '../../crypto/ring/member-state.js';
import { onAnnouncement, onConfirmations, onRoster, onTokens } from '../../crypto/ring/member.js';
import { verifyRecord } from '../../crypto/ring/record.js';
import type { Ring } from '../../crypto/ring/roster.js';
import { confirmationMac, type KeyName } from '../../crypto/ring/schedule.js';
import type { Random, Suite } from '../../crypto/suite.js';
import { at, payloadOf } from '../support/forge.js';
import type { MemberRound } from '../support/ring.js';
import { listOf, type Signatory, type VectorInputs } from './ring-inputs.js';

/** Byte strings are hex throughout. Whole messages: in suite 2 their last 64 bytes are one of many right signatures. */
export interface VectorMessages {
  readonly list: string;
  readonly announcement: string;
  readonly roster: string;
  readonly tokens: string;
  readonly signedTokens: string;
  readonly confirmations: string;
  readonly grant: string;
  readonly envelope: string;
  readonly gap: string;
  readonly checkpoint: string;
  readonly receipt: string;
}

export interface VectorMember {
  readonly listIndex: number;
  readonly certHash: string;
  readonly order: string;
  readonly ephemeralKey: string;
  readonly commitment: string;
  /** ECDH with the right neighbour, and the edge to it. */
  readonly agreement: string;
  readonly edge: string;
  readonly token: string;
  readonly leftTag: string;
  readonly rightTag: string;
  readonly mac: string;
  readonly messages: { readonly share: string; readonly token: string; readonly confirmation: string };
}

export interface VectorValues {
  readonly listPayload: string;
  readonly listHash: string;
  readonly announcementPayload: string;
  readonly annId: string;
  readonly rosterHash: string;
  readonly sid: string;
  readonly th1: string;
  readonly th2: string;
  readonly prk: string;
  readonly groupKey: string;
  readonly confirmationKey: string;
  readonly groupSeed: string;
  readonly exporter: string;
  readonly groupPublicKey: string;
  /** In ring order. */
  readonly members: readonly VectorMember[];
  readonly messages: VectorMessages;
  readonly record: string;
  readonly keyHash: string;
  readonly grantEnc: string;
  readonly grantCiphertext: string;
  readonly sealed: string;
  readonly envelopeHash: string;
  readonly upload: string;
}

export interface RingVector {
  readonly origin: string;
  readonly inputs: VectorInputs;
  readonly values: VectorValues;
}


/** Draws exactly these, in order. */
function scripted(...draws: readonly string[]): Random {
  const left = draws.map(fromHex);
  return (length) => {
    const next = left.shift();
    if (next?.length !== length)
      throw new Error(`${length} bytes were drawn where ${next?.length ?? 'none'} are given`);
    return next;
  };
}

type Identity = CoordinatorContext['self'];

interface Cast {
  readonly authority: Identity;
  readonly coordinator: Identity;
  readonly reader: Identity;
  /** In the order of the inputs. */
  readonly meters: readonly Identity[];
  readonly listMessage: Uint8Array;
  readonly membership: Membership;
}

/**
 * Plays the inputs. Where `given` holds the values of another run, everybody receives its messages in place of the fresh
 * ones: in suite 2 signatures are fresh each time, and bundles carry them.
 */
export function playVector(suite: Suite, inputs: VectorInputs, given?: VectorValues): VectorValues {
  const cast = castOf(suite, inputs, given);
  const ring = playRing(suite, inputs, cast, given);
  return {
    ...ring.values,
    ...envelopeValues(suite, inputs, cast, ring.published.name, given?.messages, ring.messages),
  };
}

const received = (given: VectorMessages | undefined, name: keyof VectorMessages, fresh: Uint8Array): Uint8Array =>
  given ? fromHex(given[name]) : fresh;

function castOf(suite: Suite, inputs: VectorInputs, given?: VectorValues): Cast {
  const identity = ({ certificate, signingSecret }: Signatory): Identity => {
    const { certHash, kid } = parseCertificate(suite, fromHex(certificate));
    return { certHash, kid, signer: suite.signer(fromHex(signingSecret)) };
  };
  const signatories = [inputs.authority, inputs.coordinator, inputs.reader, ...inputs.members];
  const authority = identity(inputs.authority);
  const listMessage = signMembershipList(suite, authority, listOf(inputs));
  const certificates = [inputs.issuingCertificate, ...signatories.map(({ certificate }) => certificate)].map(fromHex);
  const bundle = encodeMembershipBundle(received(given?.messages, 'list', listMessage), certificates);
  const trustedRoots = [parseCertificate(suite, fromHex(inputs.rootCertificate))];
  return {
    authority,
    coordinator: identity(inputs.coordinator),
    reader: identity(inputs.reader),
    meters: inputs.members.map(identity),
    listMessage,
    membership: verifyMembership({ suite, trustedRoots, nowS: inputs.nowS }, bundle),
  };
}

interface RunMember {
  readonly context: MemberContext;
  state: MemberState;
  /** Share, token, confirmation. */
  readonly replies: Uint8Array[];
  /** As after its token, and as after its confirmation. */
  readonly rounds: Round[];
  /** What the coordinator receives instead of its replies. */
  readonly given: VectorMember['messages'] | undefined;
}

function step(members: readonly RunMember[], round: MemberRound, message: Uint8Array): void {
  for (const member of members) {
    const { state, reply } = round(member.context, member.state, message);
    member.state = state;
    member.replies.push(reply);
    member.rounds.push(state.round);
  }
}

/** What the coordinator makes of everybody's reply of one round. */
function collect<State extends CoordinatorState>(
  members: readonly RunMember[],
  name: keyof VectorMember['messages'],
  state: State,
  take: (state: State, reply: Uint8Array) => CoordinatorState,
): CoordinatorState {
  const position = { share: 0, token: 1, confirmation: 2 }[name];
  let next: CoordinatorState = state;
  for (const { replies, given } of members) {
    if (next.kind !== state.kind) throw new Error('the round was closed too early');
    next = take(next as State, given ? fromHex(given[name]) : at(replies, position));
  }
  return next;
}

function expectKind<Kind extends CoordinatorState['kind']>(state: CoordinatorState, kind: Kind) {
  if (state.kind !== kind) throw new Error(`the coordinator is in ${state.kind}`);
  return state as Extract<CoordinatorState, { kind: Kind }>;
}

function playRing(suite: Suite, inputs: VectorInputs, cast: Cast, given?: VectorValues) {
  const base = { suite, membership: cast.membership, nowS: inputs.nowS };
  const gateway = { ...base, self: cast.coordinator, random: scripted(inputs.announcement.nonce) };
  const members = inputs.members.map(({ ephemeralSecret, opening }, i): RunMember => {
    const self = at(cast.meters, i);
    return {
      context: { ...base, self, random: scripted(ephemeralSecret, opening) },
      state: newMemberState(fromHex(inputs.gid)),
      replies: [],
      rounds: [],
      given: given?.members.find(({ certHash }) => certHash === toHex(self.certHash))?.messages,
    };
  });
  const { epoch, attempt, reason, expiryS } = inputs.announcement;
  const announced = announce(gateway, { epoch, attempt, reason, expiryS });
  step(members, onAnnouncement, received(given?.messages, 'announcement', announced.announcementMessage));
  const shares = expectKind(
    collect(members, 'share', announced, (state, share) => onShare(gateway, state, share)),
    'shares',
  );
  const roster = closeShares(gateway, shares);
  step(members, onRoster, received(given?.messages, 'roster', roster.rosterMessage));
  const confirming = expectKind(
    collect(members, 'token', roster, (state, token) => onToken(gateway, state, token)),
    'confirmations',
  );
  step(members, onTokens, received(given?.messages, 'tokens', confirming.tokensMessage));
  const published = expectKind(
    collect(members, 'confirmation', confirming, (state, message) => onConfirmation(gateway, state, message)),
    'published',
  );
  step(members, onConfirmations, received(given?.messages, 'confirmations', published.confirmationsMessage));
  verifyRecord(suite, cast.membership, given ? fromHex(given.record) : published.record, inputs.nowS);
  return {
    published,
    messages: {
      list: toHex(cast.listMessage),
      announcement: toHex(announced.announcementMessage),
      roster: toHex(roster.rosterMessage),
      tokens: toHex(confirming.tokensMessage),
      signedTokens: toHex(confirming.signedTokensMessage),
      confirmations: toHex(published.confirmationsMessage),
    },
    values: ringValues(suite, cast, announced.announcementMessage, published, members),
  };
}

/** The states in which a member has sent its token, and its confirmation; it must be active by now. */
function roundsOf({ rounds, state: { active } }: RunMember): readonly [TokenSent, Confirmed] {
  const [, tokenSent, confirmed] = rounds;
  if (tokenSent?.kind !== 'tokenSent' || confirmed?.kind !== 'confirmed') throw new Error('a member went another way');
  if (toHex(active?.groupKey ?? new Uint8Array(0)) !== toHex(confirmed.keys.groupKey)) {
    throw new Error('a member is not active with the key that it has confirmed');
  }
  return [tokenSent, confirmed];
}

function ringValues(
  suite: Suite,
  { listMessage, membership }: Cast,
  announcementMessage: Uint8Array,
  { ring, name, annId, record }: Published,
  members: readonly RunMember[],
) {
  const inRing = ring.members.map(({ certHash }) =>
    at(
      members.filter(({ context: { self } }) => equalBytes(self.certHash, certHash)),
      0,
    ),
  );
  const edges = inRing.map((member) => roundsOf(member)[0].rightEdge);
  const [, { keys }] = roundsOf(at(inRing, 0));
  const certHashes = ring.members.map(({ certHash }) => certHash);
  return {
    listPayload: toHex(payloadOf(listMessage)),
    listHash: toHex(membership.listHash),
    announcementPayload: toHex(payloadOf(announcementMessage)),
    annId: toHex(annId),
    rosterHash: toHex(hash(suite, 'roster', certHashes)),
    sid: toHex(ring.sid),
    th1: toHex(ring.th1),
    th2: toHex(name.th2),
    prk: toHex(hkdfExtract(suite, name.th2, concatBytes(...edges))),
    groupKey: toHex(keys.groupKey),
    confirmationKey: toHex(keys.confirmationKey),
    groupSeed: toHex(keys.groupSeed),
    exporter: toHex(keys.exporter),
    groupPublicKey: toHex(keys.groupPublicKey),
    members: inRing.map((member, i) => memberValues(suite, ring, i, member)),
    record: toHex(record),
  };
}

function memberValues(suite: Suite, ring: Ring, i: number, member: RunMember): VectorMember {
  const { listIndex, certHash, ephemeralKey, commitment } = at(ring.members, i);
  const [{ key, token, rightEdge }, { keys, name }] = roundsOf(member);
  const [share, tokenMessage, confirmation] = member.replies.map(toHex);
  if (share === undefined || tokenMessage === undefined || confirmation === undefined) throw new Error('no replies');
  return {
    listIndex,
    certHash: toHex(certHash),
    order: toHex(hash(suite, 'order', ring.annId, certHash)),
    ephemeralKey: toHex(ephemeralKey),
    commitment: toHex(commitment),
    agreement: toHex(key.agree(at(ring.members, (i + 1) % ring.members.length).ephemeralKey)),
    edge: toHex(rightEdge),
    token: toHex(token.token),
    leftTag: toHex(token.leftTag),
    rightTag: toHex(token.rightTag),
    mac: toHex(confirmationMac(suite, keys.confirmationKey, i, name.th2)),
    messages: { share, token: tokenMessage, confirmation },
  };
}

/** After the envelope, a gap report of the ten minutes before now, and a checkpoint that closes the day with the two. */
function statements(
  suite: Suite,
  meter: EntrySigner,
  name: KeyName,
  { sequence, hash }: { readonly sequence: number; readonly hash: Uint8Array },
  nowS: number,
): { readonly gap: Uint8Array; readonly checkpoint: Uint8Array } {
  const lost = { cause: 'source-silent', sinceS: nowS - 600, untilS: nowS - 60, quantities: ['1-0:1.8.1'] } as const;
  const gap = makeGapReport(suite, meter, name, { sequence: sequence + 1, previousHash: hash }, lost);
  const total = { day: dayOf(nowS), first: sequence, readings: 1 };
  const place = { sequence: sequence + 2, previousHash: gap.hash };
  return { gap: gap.message, checkpoint: makeCheckpoint(suite, meter, name, place, total).message };
}

/** The first meter grants its reading key, seals one reading, uploads both and is given a receipt. */
function envelopeValues(
  suite: Suite,
  { reading, reader: { hpkeSecret }, nowS }: VectorInputs,
  { meters, reader, coordinator, membership }: Cast,
  name: KeyName,
  given: VectorMessages | undefined,
  ringMessages: Omit<VectorMessages, 'grant' | 'envelope' | 'gap' | 'checkpoint' | 'receipt'>,
) {
  const meter = at(meters, 0);
  const readingKey = fromHex(reading.key);
  const hpkeKey = suite.agreementKey(fromHex(hpkeSecret));
  const order = { name, meter, reader: { certHash: reader.certHash, hpkeKey: hpkeKey.hpkePublicKey }, readingKey };
  const grant = makeGrant(suite, order, scripted(reading.grantIkm));
  const { enc, ciphertext, keyHash } = parseGrant(grant);
  const chain = { sequence: reading.sequence, previousHash: fromHex(reading.previousHash) };
  const plaintext = fromHex(reading.plaintext);
  const { envelope, hash: envelopeHash } = sealReading(suite, meter, { name, readingKey }, chain, plaintext);
  const { gap, checkpoint } = statements(suite, meter, name, { ...chain, hash: envelopeHash }, nowS);
  const vouched = certificateOf(membership, meter.certHash, 'member', nowS);
  verifyEntry(suite, vouched, received(given, 'gap', gap));
  verifyEntry(suite, vouched, received(given, 'checkpoint', checkpoint));
  const receivedGrant = received(given, 'grant', grant);
  const receivedEnvelope = received(given, 'envelope', envelope);
  const opened = openGrant(suite, { certHash: reader.certHash, hpkeKey }, parseGrant(receivedGrant));
  const sealed = parseReading(suite, receivedEnvelope);
  if (toHex(openReading(suite, opened, sealed)) !== reading.plaintext) throw new Error('another reading came out');
  const upload = encodeUpload({ grants: [receivedGrant], readings: [receivedEnvelope] });
  const receipt = signReceipt(suite, coordinator, meter.certHash, upload);
  const receiver = certificateOf(membership, coordinator.certHash, 'coordinator', nowS);
  verifyReceipt(suite, receiver, meter.certHash, upload, received(given, 'receipt', receipt));
  return {
    messages: {
      ...{ ...ringMessages, grant: toHex(grant), envelope: toHex(envelope) },
      ...{ gap: toHex(gap), checkpoint: toHex(checkpoint), receipt: toHex(receipt) },
    },
    keyHash: toHex(keyHash),
    grantEnc: toHex(enc),
    grantCiphertext: toHex(ciphertext),
    sealed: toHex(sealed.sealed),
    envelopeHash: toHex(envelopeHash),
    upload: toHex(upload),
  };
}
