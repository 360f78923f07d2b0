/** A whole deployment in memory: CA, authority, gateway, meters, readers and a signed list; seeded, so repeatable. */
import { createHash } from 'node:crypto';
import { parseCertificate, type Certificate, type LeafCertificate, type Role } from '../../crypto/certificate.js';
import { issueCertificate } from '../../crypto/certificate/issue.js';
import { deriveKeyPair } from '../../crypto/hpke.js';
import { generateSigner } from '../../crypto/keys.js';
import {
  encodeMembershipBundle,
  roleBit,
  signMembershipList,
  unchangedList,
  verifyMembership,
  type AuthorityList,
  type Membership,
  type MembershipList,
  type Policy,
} from '../../crypto/membership.js';
import { replaceEntry } from '../../servients/membership/edits.js';
import type { CoordinatorContext } from '../../crypto/ring/coordinator-state.js';
import type { MemberContext } from '../../crypto/ring/member-context.js';
import type { AgreementKey, Random, Signer, Suite } from '../../crypto/suite.js';

/** 2026-01-01T00:00:00Z */
export const nowS = 1_767_225_600;
const yearS = 31_536_000;

/** Bytes that depend only on the seed and on how many were drawn before. */
export function seededRandom(seed: string): Random {
  let counter = 0;
  return (length) => {
    const blocks: Buffer[] = [];
    while (blocks.length * 32 < length)
      blocks.push(
        createHash('sha256')
          .update(`${seed}/${String(counter++)}`)
          .digest(),
      );
    return new Uint8Array(Buffer.concat(blocks).subarray(0, length));
  };
}

export interface Principal {
  readonly certificate: LeafCertificate;
  readonly certHash: Uint8Array;
  readonly kid: Uint8Array;
  readonly signer: Signer;
  readonly secret: Uint8Array;
}

export interface Reader extends Principal {
  readonly hpkeKey: AgreementKey;
}

export interface Neighbourhood {
  readonly suite: Suite;
  readonly root: Certificate;
  readonly authority: Principal;
  readonly gateway: Principal;
  readonly backend: Principal;
  readonly operator: Reader;
  readonly meters: readonly Principal[];
  readonly utility: Reader;
  readonly household: Reader;
  readonly gid: Uint8Array;
  readonly certificates: readonly Uint8Array[];
  certify(
    role: Role,
    id: string,
    overrides?: { readonly notBeforeS?: number; readonly notAfterS?: number; readonly seed?: string },
  ): Principal;
  list(overrides?: {
    readonly version?: number;
    readonly policy?: Partial<Policy>;
    readonly without?: readonly Principal[];
    readonly add?: readonly Principal[];
  }): MembershipList;
  /** A list in which others have the certificates in the place of these: pairs of before and after. */
  renewed(
    list: MembershipList,
    version: number,
    ...pairs: readonly (readonly [Principal, Principal])[]
  ): MembershipList;
  /** The first list, with another gateway in the place of `gateway`. */
  listUnder(successor: Principal, version: number): MembershipList;
  /** The signed list with certificates, as `updateMembership` carries it. */
  bundle(list: AuthorityList, extra?: readonly Principal[]): Uint8Array;
  membership(list?: AuthorityList, extra?: readonly Principal[]): Membership;
  memberContext(principal: Principal, membership?: Membership, random?: Random): MemberContext;
  coordinatorContext(membership?: Membership): CoordinatorContext;
}

export function makeNeighbourhood(suite: Suite, meterCount: number, seed = 'neighbourhood'): Neighbourhood {
  const random = seededRandom(`${seed}/${suite.name}/${String(meterCount)}`);
  const rootSigner = generateSigner(suite, random).signer;
  const root = parseCertificate(
    suite,
    issueCertificate(suite, {
      issuer: { signer: rootSigner },
      subjectPublicKey: rootSigner.publicKey,
      subject: { ca: 'root', name: 'Test root' },
      serial: random(16),
      notBeforeS: nowS - yearS,
      notAfterS: nowS + 10 * yearS,
    }),
  );
  if (root.role !== 'ca') throw new Error('the root is no CA');
  const issuingSigner = generateSigner(suite, random).signer;
  const issuing = parseCertificate(
    suite,
    issueCertificate(suite, {
      issuer: { signer: rootSigner, certificate: root },
      subjectPublicKey: issuingSigner.publicKey,
      subject: { ca: 'issuing', name: 'Test issuing CA' },
      serial: random(16),
      notBeforeS: nowS - yearS,
      notAfterS: nowS + 5 * yearS,
    }),
  );
  if (issuing.role !== 'ca') throw new Error('the issuing CA is no CA');

  const certify: Neighbourhood['certify'] = (role, id, overrides = {}) => {
    const draw = overrides.seed === undefined ? random : seededRandom(overrides.seed);
    const { secret, signer } = generateSigner(suite, draw);
    const certificate = parseCertificate(
      suite,
      issueCertificate(suite, {
        issuer: { signer: issuingSigner, certificate: issuing },
        subjectPublicKey: signer.publicKey,
        subject: { role, id },
        serial: draw(16),
        notBeforeS: overrides.notBeforeS ?? nowS - 86_400,
        notAfterS: overrides.notAfterS ?? nowS + yearS,
      }),
    );
    if (certificate.role === 'ca') throw new Error('a leaf was asked for');
    return { certificate, certHash: certificate.certHash, kid: certificate.kid, signer, secret };
  };
  const person = (role: 'reader' | 'operator', id: string): Reader => ({
    ...certify(role, id),
    hpkeKey: deriveKeyPair(suite, random(32)).key,
  });

  const authority = certify('authority', 'community');
  const gateway = certify('gateway', 'gw-1');
  const backend = certify('backend', 'backend-1');
  const operator = person('operator', 'operator-1');
  const utility = person('reader', 'utility');
  const household = person('reader', 'household-1');
  const meters = Array.from({ length: meterCount }, (_, i) =>
    certify('meter', `meter-${String(i + 1).padStart(2, '0')}`),
  );
  const gid = random(16);
  const everybody = [authority, gateway, backend, operator, utility, household, ...meters];
  const certificates = [issuing.der, ...everybody.map(({ certificate }) => certificate.der)];

  const list: Neighbourhood['list'] = ({ version = 1, policy = {}, without = [], add = [] } = {}) =>
    unchangedList({
      gid,
      version,
      policy: {
        suite: suite.id,
        minMembers: 2,
        requiredMembers: [],
        gatewayIsMember: false,
        profile: 'full',
        rekeyIntervalS: 86_400,
        graceS: 600,
        readings: [
          { reader: utility.certHash, meters: null },
          { reader: household.certHash, meters: meters.slice(0, 1).map(({ certHash }) => certHash) },
        ],
        epochFloor: null,
        ...policy,
      },
      entries: [
        { certHash: gateway.certHash, roles: roleBit.coordinator, hpkeKey: null },
        { certHash: operator.certHash, roles: roleBit.operator, hpkeKey: operator.hpkeKey.hpkePublicKey },
        { certHash: utility.certHash, roles: roleBit.reader, hpkeKey: utility.hpkeKey.hpkePublicKey },
        { certHash: household.certHash, roles: roleBit.reader, hpkeKey: household.hpkeKey.hpkePublicKey },
        ...[...meters, ...add]
          .filter((meter) => !without.includes(meter))
          .map(({ certHash }) => ({ certHash, roles: roleBit.member, hpkeKey: null })),
      ],
      notBeforeS: nowS - 3_600,
      notAfterS: nowS + yearS,
    });
  const listUnder: Neighbourhood['listUnder'] = (successor, version) => {
    const before = list({ version });
    const entries = before.entries.map((entry) =>
      entry.certHash === gateway.certHash ? { ...entry, certHash: successor.certHash } : entry,
    );
    return { ...before, entries };
  };
  const renewed: Neighbourhood['renewed'] = (before, version, ...pairs) =>
    unchangedList({
      ...pairs.reduce<AuthorityList>(
        (next, [old, fresh]) => replaceEntry(next, old.certificate, fresh.certificate).list,
        before,
      ),
      version,
    });
  const bundle: Neighbourhood['bundle'] = (signedList, extra = []) =>
    encodeMembershipBundle(signMembershipList(suite, authority, signedList), [
      ...certificates,
      ...extra.map(({ certificate }) => certificate.der),
    ]);
  const membership: Neighbourhood['membership'] = (signedList = list(), extra = []) =>
    verifyMembership({ suite, trustedRoots: [root], nowS }, bundle(signedList, extra));
  const first = membership();

  return {
    suite,
    root,
    authority,
    gateway,
    backend,
    operator,
    meters,
    utility,
    household,
    gid,
    certificates,
    certify,
    list,
    listUnder,
    renewed,
    bundle,
    membership,
    memberContext: (principal, current = first, draw = random) => ({
      suite,
      self: principal,
      membership: current,
      nowS,
      random: draw,
    }),
    coordinatorContext: (current = first) => ({ suite, self: gateway, membership: current, nowS, random }),
  };
}
