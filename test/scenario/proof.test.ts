import { describe, expect, it } from 'vitest';
import { toHex } from '../../crypto/bytes.js';
import { encode } from '../../crypto/cbor.js';
import { parseSign1, verifySign1 } from '../../crypto/cose.js';
import { limits } from '../../crypto/limits.js';
import { encodeMembershipBundle, signMembershipList } from '../../crypto/membership.js';
import { encodeEndorsementBundle, signEndorsement } from '../../crypto/ring/endorsement.js';
import { contextOf, parseConfirmation } from '../../crypto/ring/messages.js';
import { encodeProof, verifyProof, type Proof } from '../../crypto/ring/proof.js';
import { encodeRecord, parseRecord, type RecordMessages } from '../../crypto/ring/record.js';
import { at, flipped, neighbourhoodOf, refusal, replaced, suites } from '../support/forge.js';
import { makeNeighbourhood, nowS } from '../support/neighbourhood.js';
import { throughConfirmations } from '../support/ring.js';

const yearS = 31_536_000;

describe.each(suites)('the proof of an epoch, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 4);
  const { name, record } = throughConfirmations(n).published;
  const issuing = at(n.certificates, 0);
  /** No certificate that the proof could do without. */
  const needed = [issuing, ...[n.authority, n.gateway, ...n.meters].map(({ certificate }) => certificate.der)];
  const parts: Proof = {
    membership: encodeMembershipBundle(signMembershipList(suite, n.authority, n.list()), needed),
    record,
    endorsement: encodeEndorsementBundle(signEndorsement(suite, n.backend, name, record), [
      n.backend.certificate.der,
      issuing,
    ]),
  };
  const check = { suite, trustedRoots: [n.root], nowS };
  const verdict = (changed: Partial<Proof>, at = check): string =>
    refusal(() => verifyProof(at, encodeProof({ ...parts, ...changed })));
  const complaint = (changed: Partial<Proof>): string => {
    try {
      verifyProof(check, encodeProof({ ...parts, ...changed }));
    } catch (error) {
      return (error as Error).message;
    }
    return 'accepted';
  };

  it('names all who hold the key, each with a signature that stands by itself', () => {
    const proof = verifyProof(check, encodeProof(parts));
    expect(proof.holders.map(({ certificate }) => certificate.id).sort()).toEqual(
      n.meters.map(({ certificate }) => certificate.id),
    );
    for (const { certificate, confirmation } of proof.holders) {
      const message = parseSign1(confirmation, limits.memberMessage);
      verifySign1(suite, certificate.verifier, message, contextOf('confirmation', name.th2));
      const { th2, groupPublicKey } = parseConfirmation(message.payload);
      expect([th2, groupPublicKey]).toEqual([name.th2, proof.record.groupPublicKey]);
    }
    expect(proof.endorsement.backend.id).toBe('backend-1');
  });

  it('outlives the certificates and the list that it rests on', () => {
    const muchLater = { ...check, nowS: nowS + 9 * yearS };
    const proof = verifyProof(muchLater, encodeProof(parts));
    expect(proof.asAtS).toBe(proof.record.announcement.expiryS);
  });

  it('may be endorsed by a backend that was certified after the epoch, and by none that is not certified yet', () => {
    const later = n.certify('backend', 'backend-2', { seed: 'later', notAfterS: nowS + yearS });
    const endorsement = encodeEndorsementBundle(signEndorsement(suite, later, name, record), [
      later.certificate.der,
      issuing,
    ]);
    expect(
      verifyProof({ ...check, nowS: nowS + 600 }, encodeProof({ ...parts, endorsement })).endorsement.backend.id,
    ).toBe('backend-2');
    const early = { ...check, nowS: later.certificate.notBeforeS - 301 };
    expect(verdict({ endorsement }, early)).toMatch(/not-yet-valid|expired/);
  });

  it.each(['membership', 'record', 'endorsement'] as const)(
    'fails, and says in which part, whichever byte of its %s is another',
    (part) => {
      const bytes = parts[part];
      const step = Math.ceil(bytes.length / 12);
      for (let i = 0; i < bytes.length; i += step) {
        const changed = { [part]: flipped(bytes, 8 * i) };
        expect(complaint(changed), `byte ${String(i)} of ${toHex(bytes.subarray(i, i + 1))}`).toMatch(
          /^(form|membership list|record|endorsement): /,
        );
      }
    },
  );

  it('fails by the name of the check: a signature, a session, a list, an endorsement of something else', () => {
    const other = throughConfirmations(n, { epoch: 2 }).published;
    const messages = parseRecord(record);
    const withMessage = (i: number, message: Uint8Array): Uint8Array =>
      encodeRecord(replaced(messages, i, () => message) as unknown as RecordMessages);
    const last = (message: Uint8Array): Uint8Array => flipped(message, 8 * (message.length - 1));
    const [announcement, roster, tokens, confirmations] = messages;
    const bundleOf = (message: Uint8Array): Uint8Array =>
      encodeEndorsementBundle(message, [n.backend.certificate.der, issuing]);
    const foreign = makeNeighbourhood(suite, 4, 'elsewhere');
    const cases: readonly (readonly [Partial<Proof>, string, RegExp])[] = [
      [{ record: withMessage(0, last(announcement)) }, 'signature-invalid', /^record: .* announcement /],
      [{ record: withMessage(1, last(roster)) }, 'signature-invalid', /^record: .* roster /],
      [{ record: withMessage(2, last(tokens)) }, 'signature-invalid', /^record: .* tokens /],
      [{ record: withMessage(3, last(confirmations)) }, 'signature-invalid', /^record: .* confirmations /],
      [{ record: other.record }, 'endorsement-mismatch', /^endorsement: /],
      [
        { endorsement: bundleOf(signEndorsement(suite, n.backend, other.name, record)) },
        'endorsement-mismatch',
        /^endorsement: /,
      ],
      [
        { endorsement: bundleOf(signEndorsement(suite, n.backend, name, other.record)) },
        'endorsement-mismatch',
        /^endorsement: /,
      ],
      [{ membership: n.bundle(n.list({ version: 2 })) }, 'membership-unknown', /^record: /],
      [{ membership: foreign.bundle(foreign.list()) }, 'certificate-untrusted', /^membership list: /],
      [{ record: new Uint8Array(3) }, 'cbor-malformed', /^form: /],
    ];
    for (const [changed, code, message] of cases) {
      expect(verdict(changed)).toBe(code);
      expect(complaint(changed)).toMatch(message);
    }
  });

  it('is unread where it is not three byte strings, or too long', () => {
    expect(refusal(() => verifyProof(check, encode([1, 2, 3])))).toBe('message-malformed');
    expect(refusal(() => verifyProof(check, new Uint8Array(limits.proof + 1)))).toBe('too-large');
  });
});
