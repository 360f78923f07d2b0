/** The inputs of `lifecycle/*.json`, and the messages that they give: lists and trust that change, and who asks for it. */
import { signAnchors } from '../../crypto/anchors.js';
import { fromHex, toHex, utf8 } from '../../crypto/bytes.js';
import { parseCertificate, type CaCertificate, type Role } from '../../crypto/certificate.js';
import { makeRequest } from '../../crypto/certificate/request.js';
import { signDeviceList } from '../../crypto/device-list.js';
import { deriveKeyPair } from '../../crypto/hpke.js';
import {
  encodeMembershipBundle,
  encodeMembershipList,
  membershipHash,
  parseMembershipList,
  roleBit,
  signMembershipList,
  type AuthorityList,
} from '../../crypto/membership.js';
import { makeProposal, parseProposal, type ProposalTerms } from '../../crypto/proposal.js';
import { signRegistration } from '../../crypto/registration.js';
import { signRenewal } from '../../crypto/renewal.js';
import type { Signer, Suite } from '../../crypto/suite.js';
import { dayS, issueCa, issueLeaf, nowS, signerNamed } from '../crypto/certificate-pki.js';

/** Byte strings are hex throughout. */
interface Signatory {
  readonly certificate: string;
  /** Ed25519 seed, or P-256 scalar. */
  readonly signingSecret: string;
}

const names = [
  ...(['root', 'nextRoot', 'issuing', 'authority', 'gateway', 'operator', 'reader'] as const),
  ...(['meter', 'meterBefore', 'otherMeter'] as const),
];
type Name = (typeof names)[number];
export type Td = Readonly<Record<string, unknown>>;

export interface Inputs {
  readonly suite: number;
  readonly nowS: number;
  readonly gid: string;
  /** `meterBefore` is the certificate that the meter had before its own. */
  readonly signatories: Readonly<Record<Name, Signatory>>;
  readonly operatorHpkeKey: string;
  readonly readerHpkeKey: string;
  /** PKCS #10, of the meter, for its third key. */
  readonly request: string;
  readonly directory: string;
  readonly td: Td;
  /** As text. */
  readonly deviceList: string;
}

export interface Made {
  /** What the payload of `listMessage` says. */
  readonly list: unknown;
  readonly listMessage: string;
  readonly listHash: string;
  /** The root says: it and the next one. */
  readonly statement: string;
  readonly bundle: string;
  readonly renewal: string;
  readonly signedTd: Td;
  readonly revoke: string;
  readonly revokeId: string;
  /** Names the meter by the certificate that it had before. */
  readonly grant: string;
  readonly withdraw: string;
  readonly deviceListSignature: string;
}

interface Actor {
  readonly certHash: Uint8Array;
  readonly kid: Uint8Array;
  readonly signer: Signer;
  readonly certificates: readonly Uint8Array[];
}

export interface Cast {
  readonly actors: Readonly<Record<Name, Actor>>;
  readonly root: CaCertificate;
  readonly nextRoot: CaCertificate;
}

export const meterId = 'urn:gridring:meter:meter-1';

export function inputsOf(suite: Suite): Inputs {
  const root = issueCa(suite, { ca: 'root', name: 'First root' });
  const nextRoot = issueCa(suite, { ca: 'root', name: 'Next root' });
  const issuing = issueCa(suite, { ca: 'issuing', name: 'Issuing CA' }, { issuer: root });
  const signatory = (der: Uint8Array, key: string): Signatory => ({
    certificate: toHex(der),
    signingSecret: toHex(suite.sha256(utf8(key))),
  });
  const leaf = (role: Role, id: string, key = id): Signatory =>
    signatory(issueLeaf(suite, issuing, { subject: { role, id }, key }).der, key);
  const hpkeKey = (ikm: string): string => toHex(deriveKeyPair(suite, suite.sha256(utf8(ikm))).key.hpkePublicKey);
  return {
    ...{ suite: suite.id, nowS, gid: toHex(suite.sha256(utf8('group')).slice(0, 16)) },
    signatories: {
      root: signatory(root.certificate.der, 'First root'),
      nextRoot: signatory(nextRoot.certificate.der, 'Next root'),
      issuing: signatory(issuing.certificate.der, 'Issuing CA'),
      authority: leaf('authority', 'authority-1'),
      gateway: leaf('gateway', 'gateway-1'),
      operator: leaf('operator', 'operator-1'),
      reader: leaf('reader', 'reader-1'),
      meter: leaf('meter', 'meter-1', 'meter-1, second key'),
      meterBefore: leaf('meter', 'meter-1'),
      otherMeter: leaf('meter', 'meter-2'),
    },
    ...{ operatorHpkeKey: hpkeKey('operator-1, HPKE'), readerHpkeKey: hpkeKey('reader-1, HPKE') },
    request: toHex(makeRequest(suite, signerNamed(suite, 'meter-1, third key'), { role: 'meter', id: 'meter-1' })),
    directory: 'https://backend.example/',
    td: {
      '@context': 'https://www.w3.org/2022/wot/td/v1.1',
      id: meterId,
      title: 'Zähler €',
      security: 'none',
      securityDefinitions: { none: { scheme: 'nosec' } },
      properties: { power: { unit: 'W', type: 'number', maximum: 1e21, minimum: -0.000_000_1 } },
    },
    deviceList: 'id,name\nmeter-3,Attic of No. 7\n',
  };
}

export function castOf(suite: Suite, { signatories }: Inputs): Cast {
  const issuing = fromHex(signatories.issuing.certificate);
  const actor = ({ certificate, signingSecret }: Signatory): Actor => {
    const { certHash, kid, der } = parseCertificate(suite, fromHex(certificate));
    return { certHash, kid, signer: suite.signer(fromHex(signingSecret)), certificates: [der, issuing] };
  };
  const actors = Object.fromEntries(names.map((name) => [name, actor(signatories[name])])) as Cast['actors'];
  const root = (name: 'root' | 'nextRoot'): CaCertificate =>
    parseCertificate(suite, fromHex(signatories[name].certificate)) as CaCertificate;
  return { actors, root: root('root'), nextRoot: root('nextRoot') };
}

export function listOf(suite: Suite, inputs: Inputs, { actors }: Cast): AuthorityList {
  const { gateway, operator, reader, meter, meterBefore, otherMeter } = actors;
  return {
    ...{ gid: fromHex(inputs.gid), version: 5, notBeforeS: nowS - 3_600, notAfterS: nowS + 20 * dayS },
    policy: {
      ...{ suite: suite.id, minMembers: 2, requiredMembers: [], gatewayIsMember: false, profile: 'full' },
      ...{ rekeyIntervalS: 86_400, graceS: 600, epochFloor: null },
      readings: [{ reader: reader.certHash, meters: [otherMeter.certHash] }],
    },
    entries: [
      { certHash: gateway.certHash, roles: roleBit.coordinator, hpkeKey: null },
      { certHash: operator.certHash, roles: roleBit.operator, hpkeKey: fromHex(inputs.operatorHpkeKey) },
      { certHash: reader.certHash, roles: roleBit.reader, hpkeKey: fromHex(inputs.readerHpkeKey) },
      { certHash: meter.certHash, roles: roleBit.member, hpkeKey: null, replaced: [meterBefore.certHash] },
      { certHash: otherMeter.certHash, roles: roleBit.member, hpkeKey: null },
    ],
  };
}

/** A signed list with the certificates of everybody. */
export function bundleOf(inputs: Inputs, listMessage: Uint8Array, statements: readonly Uint8Array[]): Uint8Array {
  const { signatories } = inputs;
  const carried = ['issuing', 'authority', 'gateway', 'operator', 'reader', 'meter', 'otherMeter'] as const;
  const certificates = carried.map((name) => fromHex(signatories[name].certificate));
  return encodeMembershipBundle(listMessage, certificates, null, statements);
}

export const proposalTerms = (
  inputs: Inputs,
  { actors }: Cast,
): Record<'revoke' | 'grant' | 'withdraw', ProposalTerms> => {
  const { meterBefore, otherMeter, reader } = actors;
  const common = { gid: fromHex(inputs.gid), madeS: nowS - 60, expiresS: nowS + dayS };
  return {
    revoke: { ...common, kind: 'revoke', subject: otherMeter.certHash, meters: null },
    grant: {
      ...{ ...common, kind: 'grant', subject: reader.certHash },
      meters: [meterBefore.certHash, otherMeter.certHash],
    },
    withdraw: { ...common, kind: 'withdraw', subject: reader.certHash, meters: null },
  };
};

/** The messages that the inputs give. */
export function play(suite: Suite, inputs: Inputs): Made {
  const cast = castOf(suite, inputs);
  const { root, authority, meter, operator } = cast.actors;
  const list = listOf(suite, inputs, cast);
  const listMessage = signMembershipList(suite, authority, list);
  const statement = signAnchors(
    suite,
    { certificate: cast.root, signer: root.signer },
    [cast.root],
    [cast.root, cast.nextRoot],
  );
  const request = { certificates: meter.certificates, request: fromHex(inputs.request), timeS: nowS };
  const terms = proposalTerms(inputs, cast);
  const propose = (kind: keyof typeof terms): string => toHex(makeProposal(suite, operator, terms[kind]));
  const revoke = propose('revoke');
  return {
    list: inHex(parsedList(list)),
    ...{ listMessage: toHex(listMessage), listHash: toHex(membershipHash(suite, encodeMembershipList(list))) },
    statement: toHex(statement),
    bundle: toHex(bundleOf(inputs, listMessage, [statement])),
    renewal: toHex(signRenewal(suite, meter, request)),
    signedTd: signRegistration(suite, meter, inputs.td, { directory: inputs.directory, timeS: nowS }),
    ...{ revoke, revokeId: toHex(parseProposal(suite, fromHex(revoke)).id) },
    ...{ grant: propose('grant'), withdraw: propose('withdraw') },
    deviceListSignature: toHex(signDeviceList(suite, operator, utf8(inputs.deviceList), nowS)),
  };
}

const parsedList = (list: AuthorityList): AuthorityList => parseMembershipList(encodeMembershipList(list));

const inHex = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value, (_, each: unknown) => (each instanceof Uint8Array ? toHex(each) : each)));
