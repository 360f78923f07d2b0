/** The inputs of `ring/*.json`: a small deployment with all its secrets, which any implementation can start from. */
import { fromHex, toHex } from '../../crypto/bytes.js';
import { deriveKeyPair } from '../../crypto/hpke.js';
import type { ListEntry, AuthorityList } from '../../crypto/membership.js';
import type { Reason } from '../../crypto/ring/messages.js';
import type { Suite, SuiteId } from '../../crypto/suite.js';
import { at } from '../support/forge.js';
import { makeNeighbourhood, nowS, seededRandom, type Principal } from '../support/neighbourhood.js';

/** Byte strings are hex throughout. */
export interface Signatory {
  readonly certificate: string;
  /** Ed25519 seed, or P-256 scalar. */
  readonly signingSecret: string;
}

export interface VectorInputs {
  readonly suite: SuiteId;
  readonly nowS: number;
  readonly gid: string;
  readonly rootCertificate: string;
  readonly issuingCertificate: string;
  readonly authority: Signatory;
  readonly coordinator: Signatory;
  readonly members: readonly (Signatory & { readonly ephemeralSecret: string; readonly opening: string })[];
  /** `hpkeSecret` is the private key that belongs to the key in the list. */
  readonly reader: Signatory & { readonly hpkeSecret: string };
  readonly list: {
    readonly version: number;
    readonly minMembers: number;
    readonly requiredMembers: readonly string[];
    readonly gatewayIsMember: boolean;
    readonly profile: 'full' | 'constrained';
    readonly rekeyIntervalS: number;
    readonly graceS: number;
    readonly readings: readonly { readonly reader: string; readonly meters: readonly string[] | null }[];
    readonly epochFloor: number | null;
    readonly entries: readonly { readonly certHash: string; readonly roles: number; readonly hpkeKey: string | null }[];
    readonly notBeforeS: number;
    readonly notAfterS: number;
  };
  readonly announcement: {
    readonly epoch: number;
    readonly attempt: number;
    readonly nonce: string;
    readonly reason: Reason;
    readonly expiryS: number;
  };
  readonly reading: {
    readonly key: string;
    readonly sequence: number;
    readonly previousHash: string;
    readonly plaintext: string;
    /** Of the grant's HPKE key pair: the `ikm` of DeriveKeyPair. */
    readonly grantIkm: string;
  };
}

/** The inputs of one vector: a seeded deployment, and secrets that any implementation can be given. */
export function makeInputs(suite: Suite, n: number): VectorInputs {
  const cast = makeNeighbourhood(suite, n, 'vectors');
  const random = seededRandom(`vector/${suite.name}/${n}`);
  const draw = (length: number): string => toHex(random(length));
  const signatory = ({ certificate, secret }: Principal): Signatory => ({
    certificate: toHex(certificate.der),
    signingSecret: toHex(secret),
  });
  const hpke = deriveKeyPair(suite, random(32));
  const { version, policy, entries, notBeforeS, notAfterS } = cast.list({
    version: 12,
    policy: {
      profile: n > 5 ? 'constrained' : 'full',
      epochFloor: n === 2 ? null : 70_000,
      requiredMembers: n === 5 ? [at(cast.meters, 0).certHash] : [],
    },
  });
  const hpkeKeyOf = (certHash: string, key: Uint8Array | null): string | null =>
    key && toHex(certHash === toHex(cast.utility.certHash) ? hpke.key.hpkePublicKey : key);
  return {
    suite: suite.id,
    nowS,
    gid: toHex(cast.gid),
    rootCertificate: toHex(cast.root.der),
    issuingCertificate: toHex(at(cast.certificates, 0)),
    authority: signatory(cast.authority),
    coordinator: signatory(cast.gateway),
    members: cast.meters.map((meter) => ({ ...signatory(meter), ephemeralSecret: draw(32), opening: draw(16) })),
    reader: { ...signatory(cast.utility), hpkeSecret: toHex(hpke.secret) },
    list: {
      version,
      minMembers: policy.minMembers,
      requiredMembers: policy.requiredMembers.map(toHex),
      gatewayIsMember: policy.gatewayIsMember,
      profile: policy.profile,
      rekeyIntervalS: policy.rekeyIntervalS,
      graceS: policy.graceS,
      readings: policy.readings.map(({ reader, meters }) => ({
        reader: toHex(reader),
        meters: meters && meters.map(toHex),
      })),
      epochFloor: policy.epochFloor,
      entries: entries.map(({ certHash, roles, hpkeKey }) => ({
        certHash: toHex(certHash),
        roles,
        hpkeKey: hpkeKeyOf(toHex(certHash), hpkeKey),
      })),
      notBeforeS,
      notAfterS,
    },
    announcement: { epoch: n === 2 ? 7 : 70_007, attempt: n, nonce: draw(16), reason: 'join', expiryS: nowS + 300 },
    reading: {
      key: draw(suite.aeadKeyBytes),
      sequence: n === 25 ? 2 ** 32 + 5 : n,
      previousHash: n === 2 ? '00'.repeat(32) : draw(32),
      plaintext: toHex(new TextEncoder().encode(`a reading of a ring of ${n}`)),
      grantIkm: draw(32),
    },
  };
}

export function listOf({ suite, gid, list }: VectorInputs): AuthorityList {
  const { requiredMembers, readings, entries, version, notBeforeS, notAfterS, ...policy } = list;
  return {
    gid: fromHex(gid),
    version,
    policy: {
      ...policy,
      suite,
      requiredMembers: requiredMembers.map(fromHex),
      readings: readings.map(({ reader, meters }) => ({
        reader: fromHex(reader),
        meters: meters && meters.map(fromHex),
      })),
    },
    entries: entries.map(({ certHash, roles, hpkeKey }): ListEntry => ({
      certHash: fromHex(certHash),
      roles,
      hpkeKey: hpkeKey === null ? null : fromHex(hpkeKey),
    })),
    notBeforeS,
    notAfterS,
  };
}
