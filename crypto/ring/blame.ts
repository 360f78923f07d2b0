/**
 * Who is to blame for tokens that do not fit, with proof (protocol §7). The proof is what members signed: shares, tokens,
 * and the ephemeral secrets that they revealed once the attempt was lost. Whoever has the membership list judges again
 * from it, and a verdict that says anything else does not verify. Nobody is convicted by another's word: an abort proves
 * nothing, for its sender may have been shown an altered bundle, or lie.
 */
import { equalBytes, xorBytes } from '../bytes.js';
import { decodeStrict, encode } from '../cbor.js';
import { parseSign1, sign1, verifySign1 } from '../cose.js';
import { VerificationError } from '../errors.js';
import { arrayOf, bytesOf, oneOf } from '../fields.js';
import { limits } from '../limits.js';
import type { Membership } from '../membership.js';
import type { AgreementKey, Signer, Suite } from '../suite.js';
import { openEvidence, peekAnnouncement, type EvidenceMessages } from './evidence.js';
import { contextOf, parseReveal, type Announcement, type TokenParts } from './messages.js';
import { neighbour, ringIndexOf, type Ring } from './roster.js';
import { edgeFrom, tagOf } from './schedule.js';
import { openTokens, opensCommitment, publicTokenFault } from './token-fault.js';

const accusations = ['commitment', 'reveal', 'token'] as const;

interface Accused {
  readonly certHash: Uint8Array;
  /**
   * What it signed. `commitment`: an opening that is not what its share committed to. `reveal`: a secret that is not that
   * of its share. `token`: a token or tags that are not those of its edges.
   */
  readonly accusation: (typeof accusations)[number];
}

export interface Judgement {
  /** Convicted by what they signed, in ring order. Honest members never are, whatever others do. */
  readonly accused: readonly Accused[];
  /**
   * certHashes of who has shown no secret and is not accused, in ring order. Where nobody is accused, one of these has
   * lied; otherwise it says nothing, for the coordinator may have withheld what they revealed.
   */
  readonly silent: readonly Uint8Array[];
}

/** The edges that revealed secrets give, by position; `null` where nobody showed one. */
type KnownEdges = readonly (Uint8Array | null)[];

/**
 * Judges a session by its tokens and the secrets that members revealed, by position in the ring; all of it is signed.
 * @returns null where nothing shows that the tokens do not fit, or nobody has revealed what it would take to tell
 */
export function judge(
  suite: Suite,
  ring: Ring,
  tokens: readonly TokenParts[],
  reveals: ReadonlyMap<number, Uint8Array>,
): Judgement | null {
  const unopened = accuse(ring, 'commitment', (i) => !opensCommitment(suite, ring, tokens, i));
  // Against these nobody reveals: they are convicted without.
  if (unopened.length > 0) return { accused: unopened, silent: [] };
  const keys = ring.members.map(({ ephemeralKey }, i) => keyOf(suite, reveals.get(i), ephemeralKey));
  const edges = ring.members.map((_, i) => edgeAt(suite, ring, keys, i));
  const lied = accuse(ring, 'reveal', (i) => reveals.has(i) && !keys[i]);
  const misfits = accuse(ring, 'token', (i) => !fitsEdges(suite, ring, tokens, edges, i));
  const accused = ring.members.flatMap(({ certHash }) => {
    const first = [...lied, ...misfits].find((one) => equalBytes(one.certHash, certHash));
    return first ? [first] : [];
  });
  if (accused.length === 0 && !isFaultEvident(suite, ring, tokens, { keys, edges })) return null;
  const silent = ring.members
    .filter((member, i) => !keys[i] && !accused.some(({ certHash }) => equalBytes(certHash, member.certHash)))
    .map(({ certHash }) => certHash);
  return { accused, silent };
}

const accuse = (
  { members }: Ring,
  accusation: Accused['accusation'],
  isGuilty: (position: number) => boolean,
): readonly Accused[] =>
  members.flatMap(({ certHash }, i): readonly Accused[] => (isGuilty(i) ? [{ certHash, accusation }] : []));

/** The agreement key of a revealed secret, or null where there is none or it is not that of the share. */
function keyOf(suite: Suite, secret: Uint8Array | undefined, ephemeralKey: Uint8Array): AgreementKey | null {
  const key = secret && unlessRefused(() => suite.agreementKey(secret));
  return key && equalBytes(key.publicKey, ephemeralKey) ? key : null;
}

/** e_i by the secret of either end. An ephemeral key that is none can only be between two members that are not honest. */
function edgeAt(suite: Suite, ring: Ring, keys: readonly (AgreementKey | null)[], i: number): Uint8Array | null {
  const [left, right] = [keys[i], keys[(i + 1) % ring.members.length]];
  const agreed =
    unlessRefused(() => left?.agree(neighbour(ring, i, 1).ephemeralKey) ?? null) ??
    unlessRefused(() => right?.agree(ring.members[i]?.ephemeralKey ?? new Uint8Array(0)) ?? null);
  return agreed && edgeFrom(suite, ring.th1, i, agreed);
}

function unlessRefused<T>(act: () => T): T | null {
  try {
    return act();
  } catch (error) {
    if (!(error instanceof VerificationError)) throw error;
    return null;
  }
}

/**
 * Whether a token may be honest by what is known of its two edges. One known edge is enough to check all of it: the token
 * gives the other edge, and both tags are signed with it.
 */
function fitsEdges(suite: Suite, { th1 }: Ring, tokens: readonly TokenParts[], edges: KnownEdges, i: number): boolean {
  const parts = tokens[i];
  if (!parts) return false;
  const leftIndex = (i + tokens.length - 1) % tokens.length;
  const fits = (left: Uint8Array, right: Uint8Array): boolean =>
    equalBytes(parts.leftTag, tagOf(suite, th1, leftIndex, left)) &&
    equalBytes(parts.rightTag, tagOf(suite, th1, i, right));
  const [left, right] = [edges[leftIndex], edges[i]];
  return (!left || fits(left, xorBytes(left, parts.token))) && (!right || fits(xorBytes(right, parts.token), right));
}

/** Whether the tokens do not fit by their public values or by the edges of somebody who has shown them. */
function isFaultEvident(
  suite: Suite,
  ring: Ring,
  tokens: readonly TokenParts[],
  { keys, edges }: { readonly keys: readonly (AgreementKey | null)[]; readonly edges: KnownEdges },
): boolean {
  const index = keys.findIndex((key) => key !== null);
  const leftEdge = edges[(index + edges.length - 1) % edges.length];
  const rightEdge = edges[index];
  // Without a single secret, everybody is silent, and that tells nothing of anybody.
  if (!leftEdge || !rightEdge) return false;
  if (publicTokenFault(suite, ring, tokens)) return true;
  return 'fault' in openTokens(suite, ring, tokens, { index, leftEdge, rightEdge });
}

export interface Verdict extends Judgement {
  readonly sid: Uint8Array;
  readonly evidence: EvidenceMessages;
  /** Signed reveals, at most one of each member, in ring order. */
  readonly reveals: readonly Uint8Array[];
}

/** A COSE_Sign1 of the coordinator under th1, at most `limits.verdict` bytes. */
export const signVerdict = (
  suite: Suite,
  coordinator: { readonly kid: Uint8Array; readonly signer: Signer },
  th1: Uint8Array,
  { sid, accused, silent, evidence, reveals }: Verdict,
): Uint8Array =>
  sign1(
    suite,
    coordinator.signer,
    coordinator.kid,
    contextOf('verdict', th1),
    encode([
      sid,
      accused.map(({ certHash, accusation }) => [certHash, accusations.indexOf(accusation)]),
      silent,
      ...evidence,
      reveals,
    ]),
  );

/** @throws MalformedError */
function parseVerdict(payload: Uint8Array): Verdict {
  const what = 'verdict';
  const items = arrayOf(decodeStrict(payload, limits.verdict), what, 7);
  const [sid, accused, silent, announcement, roster, tokens, reveals] = items;
  return {
    sid: bytesOf(sid, what, 32),
    accused: arrayOf(accused, what).map((item) => {
      const [certHash, code] = arrayOf(item, what, 2);
      return { certHash: bytesOf(certHash, what, 32), accusation: accusations[oneOf(code, what, [0, 1, 2])] };
    }),
    silent: arrayOf(silent, what).map((certHash) => bytesOf(certHash, what, 32)),
    evidence: [bytesOf(announcement, what), bytesOf(roster, what), bytesOf(tokens, what)],
    reveals: arrayOf(reveals, what).map((message) => bytesOf(message, what)),
  };
}

export interface VerifiedVerdict extends Judgement {
  readonly announcement: Announcement;
  readonly sid: Uint8Array;
}

/** The announcement inside a verdict, before anything is verified: to find the list that it needs. @throws MalformedError */
export const announcementOfVerdict = (verdict: Uint8Array): Announcement =>
  peekAnnouncement(parseVerdict(parseSign1(verdict, limits.verdict).payload).evidence[0]);

/**
 * Judges again from the evidence; only a verdict that says exactly that verifies.
 * @throws MalformedError, ConflictError `membership-unknown`, VerificationError `wrong-signer`, `signature-invalid`,
 * `record-session`, `record-tokens`, `verdict-reveals`, `verdict-unfounded`
 */
export function verifyVerdict(suite: Suite, membership: Membership, bytes: Uint8Array, nowS: number): VerifiedVerdict {
  const message = parseSign1(bytes, limits.verdict);
  const { sid, accused, silent, evidence, reveals } = parseVerdict(message.payload);
  const { announcement, ring, tokens, verifyCoordinator } = openEvidence({ suite, membership, nowS }, evidence);
  verifyCoordinator(message, 'verdict', ring.th1);
  const judgement = judge(suite, ring, tokens, openReveals(suite, ring, reveals));
  if (!judgement || !equalBytes(sid, ring.sid) || !isSame({ accused, silent }, judgement)) {
    throw new VerificationError('verdict-unfounded', 'the verdict does not say what its evidence shows');
  }
  return { announcement, sid, ...judgement };
}

function openReveals(suite: Suite, ring: Ring, reveals: readonly Uint8Array[]): ReadonlyMap<number, Uint8Array> {
  const secrets = new Map<number, Uint8Array>();
  let last = -1;
  for (const bytes of reveals) {
    const message = parseSign1(bytes, limits.memberMessage);
    const member = ring.members.find(({ certificate }) => equalBytes(certificate.kid, message.kid));
    const position = member ? ringIndexOf(ring, member.certHash) : -1;
    const { sessionRef, secret } = parseReveal(message.payload);
    if (!member || position <= last || !equalBytes(sessionRef, ring.sid.subarray(0, 8))) {
      throw new VerificationError(
        'verdict-reveals',
        'a reveal of nobody in the roster, or twice, or of another session',
      );
    }
    verifySign1(suite, member.certificate.verifier, message, contextOf('reveal', ring.th1));
    secrets.set(position, secret);
    last = position;
  }
  return secrets;
}

const isSame = (claimed: Judgement, found: Judgement): boolean =>
  claimed.accused.length === found.accused.length &&
  claimed.silent.length === found.silent.length &&
  found.accused.every(
    ({ certHash, accusation }, i) =>
      accusation === claimed.accused[i]?.accusation && equalBytes(certHash, claimed.accused[i].certHash),
  ) &&
  found.silent.every((certHash, i) => equalBytes(certHash, claimed.silent[i] ?? new Uint8Array(0)));
