import {
  Certificate as X509,
  id_ce_authorityKeyIdentifier,
  id_ce_subjectKeyIdentifier,
  type TBSCertificate,
} from '@peculiar/asn1-x509';
import { describe, expect, it } from 'vitest';
import { toHex } from '../../crypto/bytes.js';
import { algorithmsOf, decodeDer, encodeDer } from '../../crypto/certificate/algorithms.js';
import {
  parseCertificate,
  verifyChain,
  type CaCertificate,
  type Certificate,
  type Role,
  type VerifiedCertificate,
} from '../../crypto/certificate.js';
import { limits } from '../../crypto/limits.js';
import { suiteP256, suiteX25519 } from '../../crypto/suite-node.js';
import { dayS, forge, issueCa, issueLeaf, makePki, nowS, signerNamed, type Authority } from './certificate-pki.js';
import { refusal } from './refusal.js';
import { allSuites } from './suite-pairs.js';

const refused = (code: string): string => `VerificationError certificate-${code}`;

describe.each(allSuites)('a chain under $on', ({ suite }) => {
  const { root, issuing, leaf } = makePki(suite);

  interface Case {
    readonly leaf?: Certificate;
    readonly given?: readonly Certificate[];
    readonly trusted?: readonly Certificate[];
    readonly atS?: number;
    readonly role?: Role;
  }
  const verdict = (test: Case): string =>
    refusal(() =>
      verifyChain(
        suite,
        test.leaf ?? leaf,
        test.given ?? [issuing.certificate],
        test.trusted ?? [root.certificate],
        test.atS ?? nowS,
        test.role,
      ),
    );

  it('is good from the leaf over the issuing CA to the trusted root, and gives back the leaf', () => {
    const verified = verifyChain(suite, leaf, [issuing.certificate], [root.certificate], nowS, 'meter');
    expect(verified).toBe(leaf);
  });

  it('may have its CA certificates in any order, and others among them', () => {
    const other = makePki(suite).leaf;
    const stranger = issueCa(suite, { ca: 'root', name: 'Stranger' }).certificate;
    expect(verdict({ given: [stranger, other, root.certificate, issuing.certificate, leaf] })).toBe('accepted');
  });

  it('may end directly at the root, and at any of several trusted ones', () => {
    const direct = issueLeaf(suite, root, { subject: { role: 'authority', id: 'a-1' } });
    const stranger = issueCa(suite, { ca: 'root', name: 'Stranger' }).certificate;
    expect(verdict({ leaf: direct, given: [], role: 'authority' })).toBe('accepted');
    expect(verdict({ leaf: direct, given: [], trusted: [stranger, root.certificate] })).toBe('accepted');
  });

  it('may be anchored at an issuing CA that is trusted itself', () => {
    expect(verdict({ given: [], trusted: [issuing.certificate] })).toBe('accepted');
  });

  it('is refused without the certificate of the issuing CA, and without a trusted root', () => {
    expect(verdict({ given: [] })).toBe(refused('untrusted'));
    expect(verdict({ trusted: [] })).toBe(refused('untrusted'));
  });

  it('is refused up to a root that is sent along and not trusted', () => {
    const stranger = issueCa(suite, { ca: 'root', name: 'Stranger' });
    const theirs = issueCa(suite, { ca: 'issuing', name: 'Their CA' }, { issuer: stranger });
    const impostor = issueLeaf(suite, theirs);
    const given = [theirs.certificate, stranger.certificate];
    expect(verdict({ leaf: impostor, given, trusted: [stranger.certificate] })).toBe('accepted');
    expect(verdict({ leaf: impostor, given })).toBe(refused('untrusted'));
  });

  it('is refused from a root of the same name with another key', () => {
    const namesake = issueCa(suite, { ca: 'root', name: 'Test root' }, { key: 'namesake' });
    expect(verdict({ trusted: [namesake.certificate] })).toBe(refused('untrusted'));
  });

  it('is refused from a root of the same name and key id with another key: only the signature counts', () => {
    const namesake = issueCa(suite, { ca: 'root', name: 'Test root' }, { key: 'namesake' });
    const copied = parseCertificate(
      suite,
      forge(suite, namesake.signer, namesake.certificate, (tbs) => {
        const { extensions } = decodeDer(root.certificate.der, X509).tbsCertificate;
        tbs.extensions = extensions!;
      }),
    );
    expect(verdict({ trusted: [copied] })).toBe(refused('signature'));
    expect(verdict({ trusted: [copied, root.certificate] })).toBe('accepted');
  });

  it('is refused when somebody else signed the leaf, whether or not it names the key', () => {
    const attacker = signerNamed(suite, 'attacker');
    const resigned = parseCertificate(
      suite,
      forge(suite, attacker, leaf, () => undefined),
    );
    expect(verdict({ leaf: resigned })).toBe(refused('signature'));
    const unnamed = parseCertificate(suite, forge(suite, attacker, leaf, dropKeyIds));
    expect(verdict({ leaf: unnamed })).toBe(refused('signature'));
    expect(verdict({ leaf: parseCertificate(suite, forge(suite, issuing.signer, leaf, dropKeyIds)) })).toBe('accepted');
  });

  it('is refused after its end and before its beginning, wherever in it that is', () => {
    const [pastS, futureS] = [nowS - 10 * dayS, nowS + 10 * dayS];
    const oldLeaf = issueLeaf(suite, issuing, { notAfterS: pastS });
    const newLeaf = issueLeaf(suite, issuing, { notBeforeS: futureS });
    expect(verdict({ leaf: oldLeaf })).toBe(refused('expired'));
    expect(verdict({ leaf: newLeaf })).toBe(refused('not-yet-valid'));
    const ca = (wish: { readonly notBeforeS?: number; readonly notAfterS?: number }): CaCertificate =>
      issueCa(suite, { ca: 'issuing', name: 'Test issuing CA' }, { ...wish, issuer: root }).certificate;
    expect(verdict({ given: [ca({ notAfterS: pastS })] })).toBe(refused('expired'));
    expect(verdict({ given: [ca({ notBeforeS: futureS })] })).toBe(refused('not-yet-valid'));
    const rootCa = (wish: { readonly notBeforeS?: number; readonly notAfterS?: number }): CaCertificate =>
      issueCa(suite, { ca: 'root', name: 'Test root' }, wish).certificate;
    expect(verdict({ trusted: [rootCa({ notAfterS: pastS })] })).toBe(refused('expired'));
    expect(verdict({ trusted: [rootCa({ notBeforeS: futureS })] })).toBe(refused('not-yet-valid'));
  });

  it('forgives a clock that is wrong by five minutes, and no second more', () => {
    const { notBeforeS, notAfterS } = leaf;
    expect(verdict({ atS: notAfterS + limits.clockSkewS })).toBe('accepted');
    expect(verdict({ atS: notAfterS + limits.clockSkewS + 1 })).toBe(refused('expired'));
    expect(verdict({ atS: notBeforeS - limits.clockSkewS })).toBe('accepted');
    expect(verdict({ atS: notBeforeS - limits.clockSkewS - 1 })).toBe(refused('not-yet-valid'));
  });

  it('holds over a CA that was renewed, whichever of its certificates comes first', () => {
    const expired = issueCa(
      suite,
      { ca: 'issuing', name: 'Test issuing CA' },
      { issuer: root, notAfterS: nowS - dayS },
    ).certificate;
    expect(verdict({ given: [expired, issuing.certificate] })).toBe('accepted');
    expect(verdict({ given: [issuing.certificate, expired] })).toBe('accepted');
  });

  it('is refused for another role than expected, and for a CA in the place of a leaf', () => {
    expect(verdict({ role: 'meter' })).toBe('accepted');
    for (const role of ['gateway', 'backend', 'reader', 'operator', 'authority'] as const) {
      expect(verdict({ role })).toBe(refused('role'));
    }
    expect(verdict({ leaf: issuing.certificate })).toBe(refused('role'));
    expect(verdict({ leaf: root.certificate, given: [] })).toBe(refused('role'));
  });

  it('is refused when a leaf acts as a CA, even with the name and key of one', () => {
    const asCa: Authority = { signer: signerNamed(suite, 'm-1'), certificate: leaf as Certificate as CaCertificate };
    const child = issueLeaf(suite, asCa, { subject: { role: 'operator', id: 'o-1' } });
    expect(verdict({ leaf: child, given: [leaf, issuing.certificate] })).toBe(refused('path'));
    expect(verdict({ leaf: child, given: [issuing.certificate], trusted: [leaf] })).toBe(refused('path'));
  });

  it('is refused when there are more CA certificates in it than its path lengths allow', () => {
    const boundless = { ...issuing.certificate, pathLength: undefined };
    const sub = issueCa(suite, { ca: 'issuing', name: 'Sub' }, { issuer: { ...issuing, certificate: boundless } });
    const underSub = issueLeaf(suite, sub);
    expect(verdict({ leaf: underSub, given: [sub.certificate, issuing.certificate] })).toBe(refused('path'));
    const narrow = issueCa(suite, { ca: 'root', name: 'Test root', pathLength: 0 }).certificate;
    expect(verdict({ trusted: [narrow] })).toBe(refused('path'));
  });

  it('is refused when it is longer than three CA certificates, whatever their path lengths', () => {
    const wide = issueCa(suite, { ca: 'root', name: 'Wide root', pathLength: 9 });
    const cas = [wide];
    for (const name of ['First', 'Second', 'Third']) {
      cas.push(issueCa(suite, { ca: 'issuing', name, pathLength: 9 }, { issuer: cas.at(-1)! }));
    }
    const given = cas.map(({ certificate }) => certificate);
    const trusted = [wide.certificate];
    expect(verdict({ leaf: issueLeaf(suite, cas[2]!), given, trusted })).toBe('accepted');
    expect(verdict({ leaf: issueLeaf(suite, cas[3]!), given, trusted })).toBe(refused('path'));
  });

  it('that leads in a circle comes to an end', () => {
    const names = ['Snake', 'Tail'];
    const first = issueCa(suite, { ca: 'root', name: names[0]!, pathLength: 9 });
    const second = issueCa(suite, { ca: 'issuing', name: names[1]!, pathLength: 9 }, { issuer: first });
    const closing = issueCa(suite, { ca: 'issuing', name: names[0]!, pathLength: 9 }, { issuer: second });
    const given = [second.certificate, closing.certificate];
    expect(verdict({ leaf: issueLeaf(suite, second), given })).toBe(refused('path'));
  });
});

function dropKeyIds(tbs: TBSCertificate): void {
  const ids = [id_ce_authorityKeyIdentifier, id_ce_subjectKeyIdentifier];
  const kept = tbs.extensions!.filter(({ extnID }) => !ids.includes(extnID));
  tbs.extensions!.splice(0, Infinity, ...kept);
}

describe('a chain across suites', () => {
  it('is refused when the leaf was parsed under another suite than is asked for', () => {
    const { root, issuing, leaf } = makePki(suiteX25519);
    const act = (): VerifiedCertificate =>
      verifyChain(suiteP256, leaf, [issuing.certificate], [root.certificate], nowS);
    expect(refusal(act)).toBe(refused('key-type'));
  });

  it('is refused when a CA of one suite is offered as issuer of a leaf of the other', () => {
    const { leaf } = makePki(suiteX25519);
    const { root, issuing } = makePki(suiteP256);
    const act = (): VerifiedCertificate =>
      verifyChain(suiteX25519, leaf, [issuing.certificate], [root.certificate], nowS);
    expect(refusal(act)).toBe(refused('untrusted'));
  });
});

describe('an ECDSA signature with a high s, as half of all CAs’ are', () => {
  const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
  const { root, issuing, leaf } = makePki(suiteP256);

  it('is taken, and makes a certificate with another hash: not the one that a membership list names', () => {
    const high = leaf.signature.slice();
    const s = order - BigInt(`0x${toHex(leaf.signature.subarray(32))}`);
    high.set(Buffer.from(s.toString(16).padStart(64, '0'), 'hex'), 32);
    const x509 = decodeDer(leaf.der, X509);
    x509.signatureValue = new Uint8Array(algorithmsOf.p256.signatureToX509(high)).buffer;
    const twin = parseCertificate(suiteP256, encodeDer(x509));
    expect(twin.signature).toEqual(leaf.signature);
    expect(twin.certHash).not.toEqual(leaf.certHash);
    expect(verifyChain(suiteP256, twin, [issuing.certificate], [root.certificate], nowS)).toBe(twin);
  });

  it('is never what we make: reading lowers nothing', () => {
    for (let i = 0; i < 20; i++) {
      const der = forge(suiteP256, issuing.signer, leaf, () => undefined);
      const { signature } = parseCertificate(suiteP256, der);
      const made = new Uint8Array(decodeDer(der, X509).signatureValue);
      expect(made).toEqual(algorithmsOf.p256.signatureToX509(signature));
    }
  });
});

it('a parsed leaf cannot be given where a verified one is asked for', () => {
  const { leaf } = makePki(suiteX25519);
  const asksForVerified = (certificate: VerifiedCertificate): string => certificate.id;
  // @ts-expect-error nobody has verified its chain
  expect(asksForVerified(leaf)).toBe('m-1');
});
