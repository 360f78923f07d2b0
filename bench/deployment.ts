/** A deployment in memory for measurements: CA, authority, gateway, meters, one reader, and the signed list of them. */
import { randomBytes } from 'node:crypto';
import { parseCertificate, type CaCertificate, type Certificate, type Role } from '../crypto/certificate.js';
import type { CertificateCache } from '../crypto/certificate/cache.js';
import { issueCertificate } from '../crypto/certificate/issue.js';
import { generateAgreementKey, generateSigner } from '../crypto/keys.js';
import {
  encodeMembershipBundle,
  roleBit,
  signMembershipList,
  verifyMembership,
  type ListEntry,
  type Membership,
  type Profile,
} from '../crypto/membership.js';
import type { Random, Signer, Suite } from '../crypto/suite.js';
import type { Identity } from '../things/parts.js';

export const random: Random = (length) => new Uint8Array(randomBytes(length));
export const nowS = (): number => Math.floor(Date.now() / 1000);

/** With the secret of its signer, 32 bytes: for tokens and key files. */
interface ServerIdentity extends Identity {
  readonly secret: Uint8Array;
}

export interface Deployment {
  readonly suite: Suite;
  readonly root: Certificate;
  readonly gid: Uint8Array;
  readonly gateway: ServerIdentity;
  readonly backend: ServerIdentity;
  readonly meters: readonly Identity[];
  /** The first list, of all meters. */
  readonly membership: Membership;
  readonly membershipBundle: Uint8Array;
  /** The authority's next list, of these meters: its bundle. */
  readonly nextList: (meters: readonly Identity[]) => Uint8Array;
}

/**
 * Verifies a bundle of the deployment, as everybody does for himself, with the certificates that he has parsed before.
 * @throws MalformedError, VerificationError
 */
export const verified = (
  { suite, root }: Pick<Deployment, 'suite' | 'root'>,
  bundle: Uint8Array,
  certificateCache?: CertificateCache,
): Membership => verifyMembership({ suite, trustedRoots: [root], certificateCache, nowS: nowS() }, bundle);

/** A group of `memberCount` meters, whose readings go to one reader. */
export function makeDeployment(suite: Suite, memberCount: number, profile: Profile = 'full'): Deployment {
  const people = makePeople(suite);
  return makeGroup(people, certifyMeters(people, memberCount), profile);
}

/** `meterCount` meters in groups of nearly the same size, with one authority, gateway, backend and reader for all. */
export function makeTown(suite: Suite, meterCount: number, groupCount: number): readonly Deployment[] {
  const people = makePeople(suite);
  const meters = certifyMeters(people, meterCount);
  return Array.from({ length: groupCount }, (_, g) =>
    makeGroup(
      people,
      meters.filter((_, i) => i % groupCount === g),
      'full',
    ),
  );
}

interface People extends Pick<Deployment, 'suite' | 'gateway' | 'backend'> {
  readonly root: Ca;
  readonly issuing: Ca;
  readonly authority: ServerIdentity;
  readonly reader: ServerIdentity;
}

function makePeople(suite: Suite): People {
  const root = makeCa(suite);
  const issuing = makeCa(suite, root);
  const certify = (role: Role, id: string): ServerIdentity => makeIdentity(suite, issuing, role, id);
  return {
    suite,
    root,
    issuing,
    authority: certify('authority', 'community'),
    gateway: certify('gateway', 'gateway'),
    backend: certify('backend', 'backend'),
    reader: certify('reader', 'utility'),
  };
}

const certifyMeters = ({ suite, issuing }: People, count: number): readonly Identity[] =>
  Array.from({ length: count }, (_, i) => makeIdentity(suite, issuing, 'meter', `meter-${i + 1}`));

function makeGroup(people: People, meters: readonly Identity[], profile: Profile): Deployment {
  const { suite, root, issuing, authority, gateway, backend, reader } = people;
  const gid = random(16);
  const entry = ({ certHash }: Identity, role: keyof typeof roleBit): ListEntry => ({
    certHash,
    roles: roleBit[role],
    hpkeKey: null,
  });
  const readerEntry = { ...entry(reader, 'reader'), hpkeKey: generateAgreementKey(suite, random).key.hpkePublicKey };
  let version = 0;
  const nextList = (listed: readonly Identity[]): Uint8Array => {
    const listMessage = signMembershipList(suite, authority, {
      gid,
      version: ++version,
      policy: {
        suite: suite.id,
        minMembers: 2,
        requiredMembers: [],
        gatewayIsMember: false,
        profile,
        rekeyIntervalS: 86_400,
        graceS: 600,
        readings: [{ reader: reader.certHash, meters: null }],
        epochFloor: null,
      },
      entries: [readerEntry, entry(gateway, 'coordinator'), ...listed.map((meter) => entry(meter, 'member'))],
      notBeforeS: nowS() - 3_600,
      notAfterS: nowS() + 86_400,
    });
    const leaves = [authority, gateway, reader, ...listed].flatMap(({ certificates }) => certificates.slice(0, 1));
    return encodeMembershipBundle(listMessage, [issuing.certificate.der, ...leaves]);
  };
  const membershipBundle = nextList(meters);
  const membership = verified({ suite, root: root.certificate }, membershipBundle);
  return { suite, root: root.certificate, gid, gateway, backend, meters, membership, membershipBundle, nextList };
}

interface Ca {
  readonly signer: Signer;
  readonly certificate: CaCertificate;
}

/** A root, or with an issuer an issuing CA. */
function makeCa(suite: Suite, issuer?: Ca): Ca {
  const { signer } = generateSigner(suite, random);
  const der = issueCertificate(suite, {
    issuer: issuer ?? { signer },
    subjectPublicKey: signer.publicKey,
    subject: { ca: issuer ? 'issuing' : 'root', name: 'Benchmark' },
    ...validity(),
  });
  const certificate = parseCertificate(suite, der);
  if (certificate.role !== 'ca') throw new TypeError('a CA certificate was issued as a leaf');
  return { signer, certificate };
}

function makeIdentity(suite: Suite, issuer: Ca, role: Role, id: string): ServerIdentity {
  const { secret, signer } = generateSigner(suite, random);
  const der = issueCertificate(suite, {
    issuer,
    subjectPublicKey: signer.publicKey,
    subject: { role, id },
    ...validity(),
  });
  const certHash = suite.sha256(der);
  return { id, certHash, kid: certHash.slice(0, 8), signer, secret, certificates: [der, issuer.certificate.der] };
}

const validity = () => ({ serial: random(16), notBeforeS: nowS() - 3_600, notAfterS: nowS() + 86_400 });
