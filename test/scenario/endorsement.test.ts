import { describe, expect, it } from 'vitest';
import { encode } from '../../crypto/cbor.js';
import { sign1 } from '../../crypto/cose.js';
import {
  encodeEndorsementBundle,
  parseEndorsementBundle,
  recordHashOf,
  signEndorsement,
  verifyEndorsement,
} from '../../crypto/ring/endorsement.js';
import { at, flipped, neighbourhoodOf, payloadOf, refusal, suites } from '../support/forge.js';
import { makeNeighbourhood, nowS, type Principal } from '../support/neighbourhood.js';
import { throughConfirmations } from '../support/ring.js';

describe.each(suites)('an endorsement of an epoch, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 4);
  const { name, record } = throughConfirmations(n).published;
  const issuing = at(n.certificates, 0);
  const endorsement = signEndorsement(suite, n.backend, name, record);
  const bundleOf = (message: Uint8Array, signer: Principal = n.backend): Uint8Array =>
    encodeEndorsementBundle(message, [signer.certificate.der, issuing]);
  const bundle = bundleOf(endorsement);
  const check = { suite, trustedRoots: [n.root], nowS };
  const verdict = (bytes: Uint8Array, changed: Partial<typeof check> = {}): string =>
    refusal(() => verifyEndorsement({ ...check, ...changed }, bytes));

  it('says which key it is about, which record, and which backend verified it', () => {
    expect(verifyEndorsement(check, bundle)).toMatchObject({
      ...name,
      recordHash: recordHashOf(suite, record),
      backend: { role: 'backend', id: 'backend-1' },
    });
    expect(endorsement.length).toBeLessThanOrEqual(220);
  });

  it('is refused when any bit of its payload is another', () => {
    const payload = payloadOf(endorsement);
    const start = endorsement.length - 66 - payload.length;
    for (let byte = 0; byte < payload.length; byte += 7) {
      const altered = flipped(endorsement, 8 * (start + byte));
      expect(['signature-invalid', 'message-malformed', 'cbor-malformed']).toContain(verdict(bundleOf(altered)));
    }
    expect(verdict(bundleOf(flipped(endorsement, 8 * (endorsement.length - 1))))).toBe('signature-invalid');
  });

  it('is a backend’s: one signed by the gateway or a member is refused for its certificate’s role', () => {
    for (const other of [n.gateway, at(n.meters, 0), n.operator]) {
      expect(verdict(bundleOf(signEndorsement(suite, other, name, record), other))).toBe('certificate-role');
    }
  });

  it('is refused under the certificate of another backend than the one that signed', () => {
    const another = n.certify('backend', 'backend-2', { seed: 'backend-2' });
    expect(verdict(bundleOf(endorsement, another))).toBe('wrong-signer');
  });

  it('is refused from a backend that another root certified, or whose certificate has expired', () => {
    const foreign = makeNeighbourhood(suite, 2, 'elsewhere');
    const byForeign = signEndorsement(suite, foreign.backend, name, record);
    const foreignBundle = encodeEndorsementBundle(byForeign, [
      foreign.backend.certificate.der,
      at(foreign.certificates, 0),
    ]);
    expect(verdict(foreignBundle)).toBe('certificate-untrusted');
    expect(verdict(bundle, { nowS: n.backend.certificate.notAfterS + 301 })).toBe('certificate-expired');
  });

  it('is no endorsement when the backend signed the same bytes for another purpose or group', () => {
    for (const context of [
      { type: 'receipt', context: n.gid },
      { type: 'endorsement', context: new Uint8Array(16) },
    ]) {
      const misused = sign1(suite, n.backend.signer, n.backend.kid, context, payloadOf(endorsement));
      expect(verdict(bundleOf(misused))).toBe('signature-invalid');
    }
  });

  it('is unread where its bundle has another form, no certificate, or too many bytes', () => {
    expect(verdict(encode([endorsement]))).toBe('message-malformed');
    expect(verdict(encodeEndorsementBundle(endorsement, []))).toBe('message-malformed');
    expect(verdict(encodeEndorsementBundle(endorsement, [new Uint8Array(9_000)]))).toBe('too-large');
    expect(parseEndorsementBundle(bundle).endorsement).toEqual(endorsement);
  });
});
