/** What is read, and what is refused with which code, of the messages of `lifecycle/*.json`. */
import { followAnchors, signAnchors } from '../../crypto/anchors.js';
import { fromHex, toHex, utf8 } from '../../crypto/bytes.js';
import { decodeStrict, encode, type CborItem } from '../../crypto/cbor.js';
import { makeRequest } from '../../crypto/certificate/request.js';
import { parseCertificate, type Certificate } from '../../crypto/certificate.js';
import { parseSign1, sign1 } from '../../crypto/cose.js';
import { signDeviceList, verifyDeviceList } from '../../crypto/device-list.js';
import { limits } from '../../crypto/limits.js';
import {
  assertSucceeds,
  encodeMembershipList,
  parseMembershipList,
  signMembershipList,
  verifyMembership,
  type AuthorityList,
  type ListEntry,
  type Membership,
} from '../../crypto/membership.js';
import { makeProposal, verifyProposal } from '../../crypto/proposal.js';
import { signRegistration, verifyRegistration } from '../../crypto/registration.js';
import { signRenewal, verifyRenewal } from '../../crypto/renewal.js';
import type { Suite } from '../../crypto/suite.js';
import { dayS, nowS, signerNamed } from '../crypto/certificate-pki.js';
import {
  bundleOf,
  castOf,
  listOf,
  meterId,
  proposalTerms,
  type Cast,
  type Inputs,
  type Made,
  type Td,
} from './lifecycle-vector.js';

/** `code`: of the refusal; null where it is accepted. */
export type Case = { readonly what: string; readonly code: string | null } & (
  | { readonly of: 'bundle' | 'renewal' | 'proposal'; readonly bytes: string }
  /** `bytes`: payload of a list that follows the vector's own. */
  | { readonly of: 'next-list'; readonly bytes: string }
  /** `trusted`: certHashes, ascending, of the roots after it. */
  | { readonly of: 'statement'; readonly bytes: string; readonly trusted?: readonly string[] }
  | { readonly of: 'registration'; readonly td: Td }
  /** `file`: as text. */
  | { readonly of: 'device-list'; readonly bytes: string; readonly file: string }
);

type Vector = Inputs & Made;

/** Whoever trusts the first root and holds the vector's list. */
export interface Receiver {
  readonly roots: readonly Certificate[];
  readonly membership: Membership;
}

export function receiverOf(suite: Suite, { signatories, bundle }: Vector): Receiver {
  const roots = [parseCertificate(suite, fromHex(signatories.root.certificate))];
  return { roots, membership: verifyMembership({ suite, trustedRoots: roots, nowS }, fromHex(bundle)) };
}

export function read(suite: Suite, { roots, membership }: Receiver, each: Case, directory: string): void {
  const check = { suite, trustedRoots: roots, nowS };
  if (each.of === 'registration') {
    verifyRegistration({ ...check, directory }, each.td);
    return;
  }
  const bytes = fromHex(each.bytes);
  switch (each.of) {
    case 'bundle':
      verifyMembership(check, bytes);
      return;
    case 'next-list':
      assertSucceeds(parseMembershipList(bytes), membership.list);
      return;
    case 'statement':
      if (hashesOf(followAnchors(suite, roots, [bytes])) === each.trusted?.join()) return;
      throw new Error('other roots are trusted than the vector says');
    case 'renewal':
      verifyRenewal(check, bytes);
      return;
    case 'proposal':
      verifyProposal({ suite, membership, nowS }, bytes);
      return;
    case 'device-list':
      verifyDeviceList(check, utf8(each.file), bytes);
  }
}

const hashesOf = (roots: readonly Certificate[]): string =>
  roots
    .map(({ certHash }) => toHex(certHash))
    .sort()
    .join();

export function casesOf(suite: Suite, vector: Vector): readonly Case[] {
  const cast = castOf(suite, vector);
  const all = [listCases, statementCases, renewalCases, registrationCases, proposalCases, deviceListCases];
  return all.flatMap((cases) => cases(suite, vector, cast));
}

function listCases(suite: Suite, vector: Vector, cast: Cast): readonly Case[] {
  const { authority, meter, meterBefore, otherMeter, gateway } = cast.actors;
  const list = listOf(suite, vector, cast);
  const withEntry = (certHash: Uint8Array, change: Partial<ListEntry>): AuthorityList => ({
    ...list,
    version: list.version + 1,
    entries: list.entries.map((entry) => (entry.certHash === certHash ? { ...entry, ...change } : entry)),
  });
  const of = 'bundle';
  const signed = (changed: AuthorityList): string =>
    toHex(bundleOf(vector, signMembershipList(suite, authority, changed), []));
  const nameless = withReplaced(encodeMembershipList(list), []);
  const context = { type: 'membership', context: list.gid };
  const withNone = bundleOf(vector, sign1(suite, authority.signer, authority.kid, context, nameless), []);
  const many = Array.from({ length: limits.certificatesReplaced + 1 }, (_, i) => suite.sha256(Uint8Array.of(i)));
  const besides = [...list.entries, { certHash: meterBefore.certHash, roles: 1, hpkeKey: null }];
  const byGateway = toHex(bundleOf(vector, signMembershipList(suite, { ...gateway, kid: authority.kid }, list), []));
  const code = 'membership-malformed';
  const next = (changed: AuthorityList): string => toHex(encodeMembershipList(changed));
  const heir = withEntry(otherMeter.certHash, { replaced: [meterBefore.certHash] });
  const stolen = { ...heir, entries: heir.entries.filter(({ certHash }) => certHash !== meter.certHash) };
  const grown = withEntry(meter.certHash, {
    certHash: suite.sha256(utf8('third')),
    replaced: [meterBefore.certHash, meter.certHash],
  });
  return [
    { of, what: 'a meter with a certificate before', code: null, bytes: vector.bundle },
    { of, what: 'a certificate beside the one that replaced it', code, bytes: signed({ ...list, entries: besides }) },
    { of, what: 'a certificate that was replaced by two', code, bytes: signed(heir) },
    { of, what: 'an empty array of certificates before', code, bytes: toHex(withNone) },
    { of, what: 'too many before', code, bytes: signed(withEntry(meter.certHash, { replaced: many })) },
    { of, what: 'signed by the gateway', code: 'signature-invalid', bytes: byGateway },
    { of: 'next-list', what: 'a line that grows at its end', code: null, bytes: next(grown) },
    {
      ...{ of: 'next-list', what: 'the certificate before comes back', code: 'membership-succession' },
      bytes: next(withEntry(meter.certHash, { certHash: meterBefore.certHash, replaced: [] })),
    },
    { of: 'next-list', what: 'another takes over the line', code: 'membership-succession', bytes: next(stolen) },
  ];
}

/** The payload of a list with other certificates before in the one entry that names some. */
function withReplaced(payload: Uint8Array, replaced: readonly Uint8Array[]): Uint8Array {
  const items = decodeStrict(payload, limits.membership) as readonly CborItem[];
  const entriesIndex = 3;
  const entries = (items[entriesIndex] as readonly (readonly CborItem[])[]).map((entry) =>
    entry.length === 4 ? [...entry.slice(0, 3), replaced] : entry,
  );
  return encode(items.map((item, i) => (i === entriesIndex ? entries : item)));
}

function statementCases(suite: Suite, vector: Vector, cast: Cast): readonly Case[] {
  const { actors, root, nextRoot } = cast;
  const meter = parseCertificate(suite, fromHex(vector.signatories.meter.certificate));
  const by = { certificate: root, signer: actors.root.signer };
  const next = { certificate: nextRoot, signer: actors.nextRoot.signer };
  const from = (signing: typeof by, before: readonly Certificate[], after: readonly Certificate[]): string =>
    toHex(signAnchors(suite, signing, before, after));
  const trusted = (...roots: readonly Certificate[]): readonly string[] => hashesOf(roots).split(',');
  const of = 'statement';
  const forged = from({ ...by, signer: actors.authority.signer }, [root], [root, nextRoot]);
  return [
    { of, what: 'from the first root to both', code: null, bytes: vector.statement, trusted: trusted(root, nextRoot) },
    {
      ...{ of, what: 'for whoever trusts both: nothing changes', code: null, trusted: trusted(root) },
      bytes: from(next, [root, nextRoot], [nextRoot]),
    },
    { of, what: 'signed by another key', code: 'signature-invalid', bytes: forged },
    { of, what: 'by a root that is not trusted', code: 'anchor-signer', bytes: from(next, [root], [nextRoot]) },
    { of, what: 'to trust a meter', code: 'anchor-signer', bytes: from(by, [root], [meter]) },
    { of, what: 'to trust nobody', code: 'message-malformed', bytes: from(by, [root], []) },
    {
      ...{ of: 'bundle', what: 'a list with a forged statement of trust', code: 'signature-invalid' },
      bytes: toHex(bundleOf(vector, fromHex(vector.listMessage), [fromHex(forged)])),
    },
  ];
}

function renewalCases(suite: Suite, vector: Vector, cast: Cast): readonly Case[] {
  const { meter, otherMeter } = cast.actors;
  const asked = { certificates: meter.certificates, request: fromHex(vector.request), timeS: nowS };
  const by = (actor: typeof meter, change: Partial<typeof asked> = {}): string =>
    toHex(signRenewal(suite, actor, { ...asked, ...change }));
  const key = signerNamed(suite, 'meter-1, third key');
  const request = makeRequest(suite, key, { role: 'meter', id: 'meter-2' });
  const foreign = { ...key, sign: (bytes: Uint8Array) => otherMeter.signer.sign(bytes) };
  const unproven = makeRequest(suite, foreign, { role: 'meter', id: 'meter-1' });
  const of = 'renewal';
  return [
    { of, what: 'for the next key of its holder', code: null, bytes: vector.renewal },
    { of, what: 'for another name', code: 'certificate-role', bytes: by(meter, { request }) },
    { of, what: 'for a key of somebody else', code: 'certificate-signature', bytes: by(meter, { request: unproven }) },
    { of, what: 'with the certificate of another', code: 'wrong-signer', bytes: by(otherMeter) },
    { of, what: 'under another key', code: 'signature-invalid', bytes: by({ ...meter, signer: otherMeter.signer }) },
    { of, what: 'without a certificate', code: 'message-malformed', bytes: by(meter, { certificates: [] }) },
    {
      ...{ of, what: 'without its CA', code: 'certificate-untrusted' },
      bytes: by(meter, { certificates: meter.certificates.slice(0, 1) }),
    },
  ];
}

function registrationCases(suite: Suite, vector: Vector, cast: Cast): readonly Case[] {
  const { meter, otherMeter } = cast.actors;
  const use = { directory: vector.directory, timeS: nowS };
  const sign = (change: Partial<typeof use>, actor = meter, td = vector.td): Td =>
    signRegistration(suite, actor, td, { ...use, ...change });
  const { signedTd } = vector;
  const enriched = {
    ...{ registration: { created: '2026-06-01T00:00:00Z' }, ...signedTd },
    '@context': [vector.td['@context'], 'https://www.w3.org/2022/wot/discovery'],
  };
  const reversed = Object.fromEntries(Object.entries(enriched).reverse());
  const of = 'registration';
  return [
    { of, what: 'as the device made it', code: null, td: signedTd },
    { of, what: 'as a directory gives it out, in another order', code: null, td: reversed },
    { of, what: 'of a part', code: null, td: sign({}, meter, { ...vector.td, id: `${meterId}:part` }) },
    { of, what: 'without a proof', code: 'td-unsigned', td: vector.td },
    { of, what: 'with another title', code: 'td-altered', td: { ...signedTd, title: 'Zahler' } },
    { of, what: 'by another meter', code: 'td-of-another', td: sign({}, otherMeter) },
    { of, what: 'for another directory', code: 'td-elsewhere', td: sign({ directory: 'https://other.example/' }) },
    { of, what: 'of the future', code: 'td-early', td: sign({ timeS: nowS + limits.clockSkewS + 1 }) },
    {
      ...{ of, what: 'under another key', code: 'signature-invalid' },
      td: sign({}, { ...meter, signer: otherMeter.signer }),
    },
  ];
}

function proposalCases(suite: Suite, vector: Vector, cast: Cast): readonly Case[] {
  const { operator, reader, meter, gateway } = cast.actors;
  const { revoke, grant } = proposalTerms(vector, cast);
  const by = (actor: typeof operator, change: Partial<typeof revoke> = {}): string =>
    toHex(makeProposal(suite, actor, { ...revoke, ...change }));
  const { payload } = parseSign1(fromHex(vector.grant), limits.proposal);
  const turned = (decodeStrict(payload, limits.proposal) as readonly CborItem[]).map((item) =>
    Array.isArray(item) ? [...(item as readonly CborItem[])].reverse() : item,
  );
  const context = { type: 'proposal', context: grant.gid };
  const unsorted = sign1(suite, operator.signer, operator.kid, context, encode(turned));
  const of = 'proposal';
  return [
    { of, what: 'to take a meter out', code: null, bytes: vector.revoke },
    { of, what: 'to let a reader read meters, one by the certificate before', code: null, bytes: vector.grant },
    { of, what: 'to let a reader read no longer', code: null, bytes: vector.withdraw },
    { of, what: 'for another group', code: 'wrong-group', bytes: by(operator, { gid: new Uint8Array(16) }) },
    { of, what: 'by a reader', code: 'not-listed', bytes: by(reader) },
    { of, what: 'by the gateway', code: 'not-listed', bytes: by(gateway) },
    { of, what: 'under a key of another', code: 'signature-invalid', bytes: by({ ...operator, signer: meter.signer }) },
    { of, what: 'in the name of another', code: 'wrong-signer', bytes: by({ ...operator, kid: meter.kid }) },
    { of, what: 'that has expired', code: 'proposal-expired', bytes: by(operator, { expiresS: nowS - 1 }) },
    { of, what: 'of the future', code: 'proposal-early', bytes: by(operator, { madeS: nowS + limits.clockSkewS + 1 }) },
    { of, what: 'to take a reader out', code: 'target-unknown', bytes: by(operator, { subject: reader.certHash }) },
    {
      ...{ of, what: 'that lasts too long', code: 'message-malformed' },
      bytes: by(operator, { expiresS: revoke.madeS + limits.proposalS + 1 }),
    },
    {
      ...{ of, what: 'to take one out, and of meters', code: 'message-malformed' },
      bytes: by(operator, { meters: [meter.certHash] }),
    },
    { of, what: 'with meters in descending order', code: 'message-malformed', bytes: toHex(unsorted) },
  ];
}

function deviceListCases(suite: Suite, vector: Vector, cast: Cast): readonly Case[] {
  const { operator, meter } = cast.actors;
  const file = vector.deviceList;
  const by = (actor: typeof operator, timeS = nowS): string => toHex(signDeviceList(suite, actor, utf8(file), timeS));
  const of = 'device-list';
  const code = 'device-list-stale';
  return [
    { of, what: 'as it was signed', code: null, file, bytes: vector.deviceListSignature },
    {
      ...{ of, what: 'with a device more', code: 'device-list-altered' },
      ...{ file: `${file}meter-4,Cellar\n`, bytes: vector.deviceListSignature },
    },
    { of, what: 'signed by another', code: 'wrong-signer', file, bytes: by({ ...operator, kid: meter.kid }) },
    {
      ...{ of, what: 'under another key', code: 'signature-invalid', file },
      bytes: by({ ...operator, signer: meter.signer }),
    },
    { of, what: 'of long ago', code, file, bytes: by(operator, nowS - 31 * dayS) },
    { of, what: 'of the future', code, file, bytes: by(operator, nowS + limits.clockSkewS + 1) },
    {
      ...{ of, what: 'without a signer', code: 'message-malformed', file },
      bytes: by({ ...operator, certificates: [] }),
    },
  ];
}
