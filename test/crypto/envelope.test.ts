import { describe, expect, it } from 'vitest';
import { encode } from '../../crypto/cbor.js';
import { sign1 } from '../../crypto/cose.js';
import type { VerifiedCertificate } from '../../crypto/certificate.js';
import { makeGrant, openGrant, parseGrant, readingKeyHash, verifyGrant } from '../../crypto/envelope/grant.js';
import {
  encodeUpload,
  openReading,
  parseReading,
  parseUpload,
  sealReading,
  signReceipt,
  verifyReading,
  verifyReceipt,
} from '../../crypto/envelope/reading.js';
import { deriveKeyPair, hpkeSeal } from '../../crypto/hpke.js';
import { firstPreviousHash } from '../../crypto/envelope/chain.js';
import { limits } from '../../crypto/limits.js';
import { certificateOf, findEntry } from '../../crypto/membership.js';
import type { KeyName } from '../../crypto/ring/schedule.js';
import { at, flipped, neighbourhoodOf, payloadOf, refusal, suites } from '../support/forge.js';
import { nowS, seededRandom, type Principal, type Reader } from '../support/neighbourhood.js';

describe.each(suites)('grants and sealed readings, suite $name', (suite) => {
  const n = neighbourhoodOf(suite, 3);
  const membership = n.membership();
  const [meter, otherMeter] = n.meters as readonly [Principal, Principal];
  const random = seededRandom('envelopes');
  const name: KeyName = { gid: n.gid, epoch: 3, attempt: 2, th2: random(32) };
  const readingKey = random(suite.aeadKeyBytes);
  const certificate = (of: Principal): VerifiedCertificate => certificateOf(membership, of.certHash, 'member', nowS);
  const listed = ({ certHash }: Reader) => ({
    certHash,
    hpkeKey: findEntry(membership.list, certHash, 'reader')?.entry.hpkeKey ?? new Uint8Array(0),
  });
  const grantTo = (reader: Reader, key = readingKey, to = listed(reader)): Uint8Array =>
    makeGrant(suite, { name, meter, reader: to, readingKey: key }, random);
  const open = (reader: Reader, grant: Uint8Array): Uint8Array =>
    openGrant(suite, reader, verifyGrant(suite, certificate(meter), grant));
  const plaintext = new TextEncoder().encode('[{"n":"urn:dev:meter:1","v":412.5}]');
  const seal = (sequence = 1, previousHash: Uint8Array = firstPreviousHash, key = readingKey) =>
    sealReading(suite, meter, { name, readingKey: key }, { sequence, previousHash }, plaintext);
  const { envelope } = seal();
  const read = (bytes: Uint8Array, key = readingKey): Uint8Array =>
    openReading(suite, key, verifyReading(suite, certificate(meter), bytes));

  it('come open for the reader to whom the meter granted them', () => {
    expect(open(n.utility, grantTo(n.utility))).toEqual(readingKey);
    expect(read(envelope)).toEqual(plaintext);
    expect(envelope.length).toBeLessThan(limits.envelope);
  });

  describe('a grant', () => {
    it('opens for no other reader, not even one that poses as the named one', () => {
      const grant = grantTo(n.utility);
      expect(refusal(() => open(n.household, grant))).toBe('grant-not-mine');
      const posing = { ...n.household, certHash: n.utility.certHash };
      expect(refusal(() => open(posing, grant))).toBe('hpke-open-failed');
    });

    it('to a substituted reader key opens neither for the reader nor, in its name, for the thief', () => {
      const thief = deriveKeyPair(suite, random(32)).key;
      const toThief = grantTo(n.utility, readingKey, { ...listed(n.utility), hpkeKey: thief.hpkePublicKey });
      expect(refusal(() => open(n.utility, toThief))).toBe('hpke-open-failed');
      expect(listed(n.utility).hpkeKey).not.toEqual(thief.hpkePublicKey);
      expect(refusal(() => grantTo(n.utility, readingKey, { ...listed(n.utility), hpkeKey: new Uint8Array(32) }))).toBe(
        'key-invalid',
      );
    });

    it('of another meter is refused, whoever it says made it', () => {
      const grant = grantTo(n.utility);
      expect(refusal(() => verifyGrant(suite, certificate(otherMeter), grant))).toBe('wrong-signer');
      const posing = { certHash: meter.certHash, kid: meter.kid, signer: otherMeter.signer };
      const forged = makeGrant(suite, { name, meter: posing, reader: listed(n.utility), readingKey }, random);
      expect(refusal(() => verifyGrant(suite, certificate(meter), forged))).toBe('signature-invalid');
    });

    it('does not open when a meter signs over the sealed key of another', () => {
      const { enc, ciphertext, keyHash, reader } = parseGrant(grantTo(n.utility));
      const { gid, epoch, attempt, th2 } = name;
      const payload = encode([gid, epoch, attempt, th2, otherMeter.certHash, reader, keyHash, enc, ciphertext]);
      const stolen = sign1(suite, otherMeter.signer, otherMeter.kid, { type: 'grant', context: gid }, payload);
      const grant = verifyGrant(suite, certificate(otherMeter), stolen);
      expect(refusal(() => openGrant(suite, n.utility, grant))).toBe('hpke-open-failed');
    });

    it('of one epoch opens in no other, though the meter itself signs it there', () => {
      const grant = parseGrant(grantTo(n.utility));
      for (const other of [{ epoch: 4 }, { attempt: 1 }, { th2: new Uint8Array(32) }, { gid: new Uint8Array(16) }]) {
        const moved = { ...grant, name: { ...grant.name, ...other } };
        expect(refusal(() => openGrant(suite, n.utility, moved))).toBe('hpke-open-failed');
      }
    });

    it('that names another key than it holds is told apart from one that does not open', () => {
      const info = encode(['gridring1', 'grant', name.gid, name.epoch, name.attempt, name.th2, meter.certHash, n.utility.certHash]); // prettier-ignore
      const key = listed(n.utility).hpkeKey;
      const { enc, ciphertext } = hpkeSeal(suite, key, info, new Uint8Array(0), random(readingKey.length), random);
      const twoFaced = { ...parseGrant(grantTo(n.utility)), enc, ciphertext };
      expect(refusal(() => openGrant(suite, n.utility, twoFaced))).toBe('reading-key-mismatch');
    });

    it('is refused when any bit of it has changed', () => {
      const grant = grantTo(n.utility);
      for (let bit = 0; bit < grant.length * 8; bit += 7) {
        expect(refusal(() => verifyGrant(suite, certificate(meter), flipped(grant, bit)))).toMatch(/./);
      }
    });

    it('is no reading, and a reading is no grant', () => {
      expect(refusal(() => verifyReading(suite, certificate(meter), grantTo(n.utility)))).toBe('message-malformed');
      expect(refusal(() => verifyGrant(suite, certificate(meter), envelope))).toBe('message-malformed');
      const asGrant = sign1(suite, meter.signer, meter.kid, { type: 'grant', context: n.gid }, payloadOf(envelope));
      expect(refusal(() => verifyReading(suite, certificate(meter), asGrant))).toBe('signature-invalid');
    });
  });

  describe('a reading', () => {
    it('tells a wrong key apart from tampering', () => {
      expect(refusal(() => read(envelope, random(readingKey.length)))).toBe('reading-key-mismatch');
      const reading = verifyReading(suite, certificate(meter), envelope);
      const tampered = { ...reading, sealed: flipped(reading.sealed, reading.sealed.length * 8 - 1) };
      expect(refusal(() => openReading(suite, readingKey, tampered))).toBe('seal-invalid');
    });

    it('cannot be shown differently to two readers: both hold it against the one key that it names', () => {
      const otherKey = random(readingKey.length);
      const [toUtility, toHousehold] = [grantTo(n.utility), grantTo(n.household, otherKey)];
      expect(read(envelope, open(n.utility, toUtility))).toEqual(plaintext);
      expect(refusal(() => read(envelope, open(n.household, toHousehold)))).toBe('reading-key-mismatch');
      expect(parseGrant(toHousehold).keyHash).toEqual(readingKeyHash(suite, otherKey));
      expect(parseReading(suite, envelope).keyHash).toEqual(readingKeyHash(suite, readingKey));
    });

    it('opens under no other header: key name, meter, sequence, chain and key hash are part of the seal', () => {
      const reading = parseReading(suite, envelope);
      const swapped = [
        { gid: new Uint8Array(16) },
        { epoch: reading.epoch + 1 },
        { attempt: reading.attempt + 1 },
        { keyRef: new Uint8Array(8) },
        { meter: otherMeter.certHash },
        { sequence: 2 },
        { previousHash: new Uint8Array(32).fill(1) },
      ];
      for (const change of swapped) {
        expect(refusal(() => openReading(suite, readingKey, { ...reading, ...change }))).toBe('seal-invalid');
      }
      const otherHash = { ...reading, keyHash: new Uint8Array(32) };
      expect(refusal(() => openReading(suite, readingKey, otherHash))).toBe('reading-key-mismatch');
    });

    it('is refused when any bit of it has changed, a gap or a fork in the chain among them', () => {
      for (let bit = 0; bit < envelope.length * 8; bit += 7) {
        expect(refusal(() => verifyReading(suite, certificate(meter), flipped(envelope, bit)))).toMatch(/./);
      }
    });

    it('chains to the one before by its payload, so a second signature is no second reading', () => {
      const first = seal();
      const second = parseReading(suite, seal(2, first.hash).envelope);
      expect(second.previousHash).toEqual(parseReading(suite, first.envelope).hash);
      expect(seal().hash).toEqual(first.hash);
      expect(seal(2).hash).not.toEqual(first.hash);
    });

    it('of another meter is refused, whoever it says sealed it', () => {
      expect(refusal(() => verifyReading(suite, certificate(otherMeter), envelope))).toBe('wrong-signer');
      const posing = { certHash: meter.certHash, kid: meter.kid, signer: otherMeter.signer };
      const at1 = { sequence: 1, previousHash: firstPreviousHash };
      const forged = sealReading(suite, posing, { name, readingKey }, at1, plaintext).envelope;
      expect(refusal(() => verifyReading(suite, certificate(meter), forged))).toBe('signature-invalid');
    });

    it('never stands at sequence 0, and its nonce is the sequence', () => {
      expect(refusal(() => parseReading(suite, seal(0).envelope))).toBe('message-malformed');
      const far = parseReading(suite, seal(Number.MAX_SAFE_INTEGER).envelope);
      expect(openReading(suite, readingKey, far)).toEqual(plaintext);
      const [one, two] = [seal(1), seal(2)].map(({ envelope: bytes }) => parseReading(suite, bytes).sealed);
      expect(one).not.toEqual(two);
    });
  });

  describe('a receipt', () => {
    const upload = encodeUpload({ grants: [grantTo(n.utility)], readings: [envelope] });
    const receiver = certificateOf(membership, n.gateway.certHash, 'coordinator', nowS);
    const receipt = signReceipt(suite, n.gateway, meter.certHash, upload);

    it('is for one upload of one sender, by one receiver', () => {
      verifyReceipt(suite, receiver, meter.certHash, upload, receipt);
      const other = encodeUpload({ grants: [], readings: [envelope] });
      const verify = (sender: Uint8Array, bytes: Uint8Array, message = receipt) =>
        refusal(() => {
          verifyReceipt(suite, receiver, sender, bytes, message);
        });
      expect(verify(meter.certHash, other)).toBe('receipt-mismatch');
      expect(verify(otherMeter.certHash, upload)).toBe('signature-invalid');
      const byMeter = signReceipt(suite, otherMeter, meter.certHash, upload);
      expect(verify(meter.certHash, upload, byMeter)).toBe('signature-invalid');
      for (let bit = 0; bit < receipt.length * 8; bit += 7) {
        expect(verify(meter.certHash, upload, flipped(receipt, bit))).toMatch(/./);
      }
    });

    it('is for the bytes that were sent: an upload parses back into what went in', () => {
      const { grants, readings } = parseUpload(upload);
      expect(at(readings, 0)).toEqual(envelope);
      expect(grants).toHaveLength(1);
      expect(refusal(() => parseUpload(new Uint8Array(limits.readingsBatch + 1)))).toBe('too-large');
    });
  });
});
