/** Who is trusted changes by the word of a root alone, once, and for those it was said to. */
import { describe, expect, it } from 'vitest';
import { toHex } from '../../crypto/bytes.js';
import { followAnchors, signAnchors } from '../../crypto/anchors.js';
import { parseCertificate, type CaCertificate } from '../../crypto/certificate.js';
import { issueCertificate } from '../../crypto/certificate/issue.js';
import { GridringError } from '../../crypto/errors.js';
import { generateSigner } from '../../crypto/keys.js';
import {
  encodeMembershipBundle,
  parseMembershipBundle,
  signMembershipList,
  verifyMembership,
} from '../../crypto/membership.js';
import type { Signer } from '../../crypto/suite.js';
import { at, flipped, refusal, suites } from '../support/forge.js';
import { makeNeighbourhood, nowS, seededRandom } from '../support/neighbourhood.js';

const yearS = 31_536_000;

describe.each(suites)('a statement of trust, suite $id', (suite) => {
  const rootOf = (name: string): { readonly certificate: CaCertificate; readonly signer: Signer } => {
    const random = seededRandom(`anchors/${name}`);
    const { signer } = generateSigner(suite, random);
    const der = issueCertificate(suite, {
      ...{ issuer: { signer }, subjectPublicKey: signer.publicKey, subject: { ca: 'root', name } },
      ...{ serial: random(16), notBeforeS: nowS - 3_600, notAfterS: nowS + yearS },
    });
    return { certificate: parseCertificate(suite, der) as CaCertificate, signer };
  };
  const [first, second, third] = ['first', 'second', 'third'].map(rootOf) as [
    ReturnType<typeof rootOf>,
    ReturnType<typeof rootOf>,
    ReturnType<typeof rootOf>,
  ];
  const [a, b, c] = [first.certificate, second.certificate, third.certificate];
  const apply = signAnchors(suite, first, [a], [a, b]);
  const finish = signAnchors(suite, second, [a, b], [b]);
  const names = (roots: readonly { readonly certHash: Uint8Array }[]): readonly string[] =>
    roots.map(({ certHash }) => toHex(certHash)).sort();
  const follow = (trusted: readonly CaCertificate[], ...statements: readonly Uint8Array[]) =>
    names(followAnchors(suite, trusted, statements));

  /** How it is refused, or that it leaves everything as it was. */
  const refusalOrNothing = (act: () => readonly string[]): string => {
    try {
      return act().join() === names([a]).join() ? 'nothing' : fail();
    } catch (error) {
      if (error instanceof GridringError) return error.code;
      throw error;
    }
  };
  const fail = (): never => {
    throw new Error('other roots are trusted');
  };

  it('leads from one root over both to the other, also who was asleep all the time', () => {
    expect(follow([a], apply)).toEqual(names([a, b]));
    expect(follow([b, a], finish)).toEqual(names([b]));
    expect(follow([a], apply, finish)).toEqual(names([b]));
  });

  it('changes nothing for anybody else: played again, out of order, or to who trusts another root', () => {
    expect(follow([b], apply, finish)).toEqual(names([b]));
    expect(follow([a, b], apply)).toEqual(names([a, b]));
    expect(follow([a], finish)).toEqual(names([a]));
    expect(follow([c], apply, finish)).toEqual(names([c]));
    const on = signAnchors(suite, second, [b], [b, c]);
    expect(follow([b, c], finish, apply)).toEqual(names([b, c]));
    expect(follow([a], apply, finish, on)).toEqual(names([b, c]));
  });

  it('is made by no key but that of a trusted root: not a device’s, an issuing CA’s, an authority’s or another root’s', () => {
    const n = makeNeighbourhood(suite, 2);
    const root = n.root as CaCertificate;
    const evil = rootOf('evil');
    const issuing = parseCertificate(suite, at(n.certificates, 0)) as CaCertificate;
    for (const signer of [at(n.meters, 0).signer, n.gateway.signer, n.authority.signer, evil.signer]) {
      for (const certificate of [root, issuing, evil.certificate]) {
        const statement = signAnchors(suite, { certificate, signer }, [root], [root, evil.certificate]);
        const code = refusal(() => followAnchors(suite, [root], [statement]));
        expect(code).toBe(certificate === root ? 'signature-invalid' : 'anchor-signer');
      }
    }
    const altered = Array.from({ length: 60 }, (_, i) => flipped(apply, 97 * i));
    for (const statement of altered) {
      // One that is for other roots than these is nobody's business here.
      expect([refusalOrNothing(() => follow([a], statement)), follow([c], apply)]).toEqual([
        expect.any(String),
        names([c]),
      ]);
    }
  });

  it('names roots alone, and one at least', () => {
    const n = makeNeighbourhood(suite, 2);
    const device = at(n.meters, 0).certificate;
    expect(refusal(() => follow([a], signAnchors(suite, first, [a], [device])))).toBe('anchor-signer');
    expect(refusal(() => follow([a], signAnchors(suite, first, [a], [])))).toBe('message-malformed');
  });

  it('travels in a membership bundle, where nobody can add one, and leaving it out plants nothing', () => {
    const n = makeNeighbourhood(suite, 2);
    const bundle = parseMembershipBundle(n.bundle(n.list()));
    const list = signMembershipList(suite, n.authority, n.list());
    const planted = signAnchors(
      suite,
      { certificate: n.root as CaCertificate, signer: n.gateway.signer },
      [n.root],
      [a],
    );
    const check = { suite, trustedRoots: [n.root], nowS };
    const withStatement = encodeMembershipBundle(list, bundle.certificates, null, [planted]);
    expect(parseMembershipBundle(withStatement).anchors).toHaveLength(1);
    expect(refusal(() => verifyMembership(check, withStatement))).toBe('signature-invalid');
    const harmless = encodeMembershipBundle(list, bundle.certificates, null, [apply, finish]);
    expect(names(verifyMembership(check, harmless).trustedRoots)).toEqual(names([n.root]));
  });
});
