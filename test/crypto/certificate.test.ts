import { OctetString } from '@peculiar/asn1-schema';
import {
  AlgorithmIdentifier,
  BasicConstraints,
  Certificate as X509,
  Extension,
  GeneralName,
  KeyUsage,
  KeyUsageFlags,
  NameConstraints,
  SubjectAlternativeName,
  Version,
  id_ce_basicConstraints,
  id_ce_keyUsage,
  id_ce_nameConstraints,
  id_ce_subjectAltName,
  type TBSCertificate,
} from '@peculiar/asn1-x509';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { concatBytes, equalBytes, fromHex, toHex } from '../../crypto/bytes.js';
import { algorithmsOf, decodeDer, encodeDer } from '../../crypto/certificate/algorithms.js';
import { issueCertificate, type CertificateRequest } from '../../crypto/certificate/issue.js';
import { fromPem, toPem } from '../../crypto/certificate/pem.js';
import { parseCertificate, roles, verifyChain } from '../../crypto/certificate.js';
import { limits } from '../../crypto/limits.js';
import { suiteP256, suiteX25519 } from '../../crypto/suite-node.js';
import type { Suite } from '../../crypto/suite.js';
import { dayS, forge, issue, issueCa, issueLeaf, makePki, nowS, signerNamed } from './certificate-pki.js';
import { refusal } from './refusal.js';
import { allSuites, filled, pairs } from './suite-pairs.js';

const malformed = 'MalformedError certificate-malformed';
const wrongKeyType = 'VerificationError certificate-key-type';
const invalidKey = 'VerificationError key-invalid';
const nodeSuites = allSuites.filter(({ suite }) => suite === suiteX25519 || suite === suiteP256);

const parsing = (suite: Suite, der: Uint8Array): string => refusal(() => parseCertificate(suite, der));
const flipBit = (bytes: Uint8Array, bit: number): Uint8Array =>
  bytes.map((byte, i) => (i === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));
const extension = (extnID: string, critical: boolean, value: object): Extension =>
  new Extension({ extnID, critical, extnValue: new OctetString(encodeDer(value)) });

const replaceExtension =
  (replacement: Extension) =>
  (tbs: TBSCertificate): void => {
    const list = tbs.extensions!;
    const at = list.findIndex(({ extnID }) => extnID === replacement.extnID);
    if (at < 0) list.push(replacement);
    else list[at] = replacement;
  };

const dropExtension =
  (id: string) =>
  (tbs: TBSCertificate): void => {
    const list = tbs.extensions!;
    list.splice(
      list.findIndex(({ extnID }) => extnID === id),
      1,
    );
  };

const addExtension =
  (added: Extension) =>
  (tbs: TBSCertificate): void => {
    tbs.extensions!.push(added);
  };

const usage = (flags: number): Extension => extension(id_ce_keyUsage, true, new KeyUsage(flags));

const names = (...uris: readonly (string | GeneralName)[]): Extension =>
  extension(
    id_ce_subjectAltName,
    false,
    new SubjectAlternativeName(
      uris.map((uri) => (uri instanceof GeneralName ? uri : new GeneralName({ uniformResourceIdentifier: uri }))),
    ),
  );

const host = (dNSName: string): GeneralName => new GeneralName({ dNSName });
const constraints = (values: Partial<BasicConstraints>): Extension =>
  extension(id_ce_basicConstraints, true, new BasicConstraints(values));

describe.each(allSuites)('a certificate under $on', ({ suite }) => {
  const { root, issuing, leaf } = makePki(suite);
  const forged = (change: (tbs: TBSCertificate) => void, original = leaf): string =>
    parsing(suite, forge(suite, issuing.signer, original, change));

  it('says who it is of, by what key, and when it holds', () => {
    expect(leaf).toMatchObject({ role: 'meter', id: 'm-1', notBeforeS: nowS - 30 * dayS, notAfterS: nowS + 30 * dayS });
    expect(leaf.certHash).toEqual(suite.sha256(leaf.der));
    expect(leaf.kid).toEqual(leaf.certHash.slice(0, 8));
    expect(leaf.verifier.publicKey).toEqual(signerNamed(suite, 'm-1').publicKey);
    expect(leaf.issuerName).toEqual(issuing.certificate.subjectName);
    expect(root.certificate).toMatchObject({ role: 'ca', ca: 'root', pathLength: 1 });
    expect(issuing.certificate).toMatchObject({ role: 'ca', ca: 'issuing', pathLength: 0 });
    expect(issuing.signer.publicKey).toEqual(issuing.certificate.verifier.publicKey);
  });

  it('holds for every role, for ids of one and of 64 characters, and beyond 2050', () => {
    const notAfterS = Date.UTC(2099, 0, 1) / 1000;
    for (const role of roles) {
      for (const id of ['a', 'a-0'.padEnd(64, 'z')]) {
        expect(issueLeaf(suite, issuing, { subject: { role, id }, notAfterS })).toMatchObject({ role, id, notAfterS });
      }
    }
  });

  it('fits the limit with the longest names', () => {
    const ca = issueCa(suite, { ca: 'issuing', name: 'ü'.repeat(64) }, { issuer: root });
    const { der } = issueLeaf(suite, ca, { subject: { role: 'authority', id: 'x'.repeat(64) } });
    expect(der.length).toBeLessThan(limits.certificate / 2);
  });

  it('is refused when it is too large, cut short anywhere or has anything after it', () => {
    expect(parsing(suite, new Uint8Array(limits.certificate + 1))).toBe('MalformedError too-large');
    for (let length = 0; length < leaf.der.length; length += 7) {
      expect(parsing(suite, leaf.der.subarray(0, length))).toBe(malformed);
    }
    expect(parsing(suite, concatBytes(leaf.der, Uint8Array.of(0)))).toBe(malformed);
    expect(parsing(suite, concatBytes(leaf.der, leaf.der))).toBe(malformed);
  });

  it('is refused in BER that is not DER: longer lengths, indefinite ones, a boolean of 01, an explicit default', () => {
    const outer = leaf.der.subarray(4);
    const bodyLength = toHex(leaf.der.subarray(2, 4));
    expect(parsing(suite, concatBytes(fromHex('308300' + bodyLength), outer))).toBe(malformed);
    expect(parsing(suite, concatBytes(fromHex('3080'), outer, fromHex('0000')))).toBe(malformed);
    const hex = toHex(leaf.der);
    for (const [der, ber] of [
      ['551d130101ff', '551d13010101'],
      ['551d0f0101ff', '551d0f010101'],
    ] as const) {
      expect(hex).toContain(der);
      expect(parsing(suite, fromHex(hex.replace(der, ber)))).toBe(malformed);
    }
    const isFalse = constraints({});
    isFalse.extnValue = new OctetString(fromHex('3003010100'));
    expect(forged(replaceExtension(isFalse))).toBe(malformed);
  });

  it('is refused with a signature of another length, or in another form', () => {
    const x509 = decodeDer(leaf.der, X509);
    const original = new Uint8Array(x509.signatureValue);
    const ecdsa = ['3006020101020101'];
    const badEcdsa = [
      '3006020101020100', // s = 0
      '30060201ff020101', // r negative
      '300702020001020101', // r with a zero too many
      `3026022100${'ff'.repeat(32)}020101`, // r above the order
      '300602010102010100', // a byte left over
      'a5'.repeat(64), // r and s as COSE has them
    ];
    for (const signature of [
      original.subarray(1),
      concatBytes(original, Uint8Array.of(0)),
      new Uint8Array(0),
      ...(suite.id === 1 ? ecdsa : badEcdsa).map(fromHex),
    ]) {
      x509.signatureValue = new Uint8Array(signature).buffer;
      expect(parsing(suite, encodeDer(x509))).toBe(malformed);
    }
  });

  it('is refused when the algorithm outside is not the signed one', () => {
    const x509 = decodeDer(leaf.der, X509);
    x509.signatureAlgorithm = algorithmsOf[suite.id === 1 ? 'p256' : 'x25519'].signature;
    expect(parsing(suite, encodeDer(x509))).toBe(malformed);
  });

  it.each<readonly [string, (tbs: TBSCertificate) => void]>([
    ['version 1', (tbs) => (tbs.version = Version.v1)],
    ['version 2', (tbs) => (tbs.version = Version.v2)],
    ['the serial number 0', (tbs) => (tbs.serialNumber = Uint8Array.of(0).buffer)],
    ['a negative serial number', (tbs) => (tbs.serialNumber = Uint8Array.of(0x80, 1).buffer)],
    ['a serial number of 21 bytes', (tbs) => (tbs.serialNumber = filled(21, 0).buffer as ArrayBuffer)],
    ['no extensions', (tbs) => (tbs.extensions = undefined as never)],
    ['a critical extension that it does not know', addExtension(extension('1.2.3.4', true, new BasicConstraints()))],
    ['critical name constraints', addExtension(extension(id_ce_nameConstraints, true, new NameConstraints()))],
    ['an extension twice', addExtension(names('urn:gridring:meter:m-1'))],
    ['no identity', dropExtension(id_ce_subjectAltName)],
    ['an empty list of names', replaceExtension(names())],
    ['two identities', replaceExtension(names('urn:gridring:meter:m-1', 'urn:gridring:operator:m-1'))],
    ['the same identity twice', replaceExtension(names('urn:gridring:meter:m-1', 'urn:gridring:meter:m-1'))],
    ['a host name beside the identity', replaceExtension(names('urn:gridring:meter:m-1', host('m-1.example')))],
    ['a host name for identity', replaceExtension(names(host('urn:gridring:meter:m-1')))],
    ['a mail address for identity', replaceExtension(names(new GeneralName({ rfc822Name: 'urn:gridring:meter:m-1' })))],
    ['a key usage without signatures', replaceExtension(usage(KeyUsageFlags.keyAgreement))],
    ['no key usage', dropExtension(id_ce_keyUsage)],
    [
      'the right to certify, and not the flag of a CA',
      replaceExtension(usage(KeyUsageFlags.digitalSignature | KeyUsageFlags.keyCertSign)),
    ],
    ['the flag of a CA, and not the right to certify', replaceExtension(constraints({ cA: true }))],
  ])('is refused with %s', (_, change) => {
    expect(forged(change)).toBe(malformed);
  });

  it.each([
    'urn:gridring:meter:M-1',
    'urn:gridring:meter:',
    'urn:gridring:meter:m_1',
    'urn:gridring:meter:m-1 ',
    'urn:gridring:meter:m-1\n',
    'urn:gridring:meter:m-1:x',
    `urn:gridring:meter:${'m'.repeat(65)}`,
    'urn:gridring:Meter:m-1',
    'urn:gridring:ca:m-1',
    'urn:gridring:admin:m-1',
    'URN:gridring:meter:m-1',
    ' urn:gridring:meter:m-1',
    'urn:other:meter:m-1',
    'https://example.org/meter/m-1',
    'urn:gridring:meter:m-1\0',
  ])('is refused with the identity %j', (uri) => {
    expect(forged(replaceExtension(names(uri)))).toBe(malformed);
  });

  it('of a CA is refused with a negative or absurd path length', () => {
    for (const pathLenConstraint of [-1, 2 ** 31]) {
      const change = replaceExtension(constraints({ cA: true, pathLenConstraint }));
      const der = forge(suite, root.signer, issuing.certificate, change);
      expect(parsing(suite, der)).toBe(malformed);
    }
  });

  it('may have extensions that are not critical and that it does not know', () => {
    expect(forged(addExtension(extension('1.2.3.4', false, new BasicConstraints())))).toBe('accepted');
  });

  it('keeps nothing of the input: changing it afterwards changes nothing', () => {
    const input = Buffer.from(leaf.der);
    const parsed = parseCertificate(suite, input);
    input.fill(0);
    expect(parsed.der).toEqual(leaf.der);
    expect(parsed.tbs).toEqual(leaf.tbs);
    expect(Buffer.isBuffer(parsed.der)).toBe(false);
  });
});

describe('the key in a certificate', () => {
  const withKey = (suite: Suite, publicKey: Uint8Array): string => {
    const { issuing, leaf } = makePki(suite);
    const der = forge(suite, issuing.signer, leaf, (tbs) => {
      tbs.subjectPublicKeyInfo.subjectPublicKey = new Uint8Array(publicKey).buffer;
    });
    return parsing(suite, der);
  };

  it.each([
    ['the identity, under which OpenSSL would verify any message', '01' + '00'.repeat(31)],
    ['a point of order 2', 'ec' + 'ff'.repeat(30) + '7f'],
    ['a point of order 4', '00'.repeat(32)],
    ['a point of order 8', '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05'],
    ['the identity with its sign set', '01' + '00'.repeat(30) + '80'],
    ['the identity, not canonical', 'ee' + 'ff'.repeat(30) + '7f'],
    ['31 bytes', '11'.repeat(31)],
    ['33 bytes', '11'.repeat(33)],
  ])('may not be %s (Ed25519)', (_, key) => {
    for (const { node, noble } of pairs.filter(({ name }) => name === 'x25519')) {
      expect(withKey(node, fromHex(key))).toBe(invalidKey);
      expect(withKey(noble, fromHex(key))).toBe(invalidKey);
    }
  });

  it.each([
    ['compressed', '02' + '11'.repeat(32)],
    ['infinity', '00'],
    ['off the curve', '04' + '11'.repeat(64)],
    ['of another length', '04' + '11'.repeat(65)],
  ])('may not be %s (P-256)', (_, key) => {
    for (const { node, noble } of pairs.filter(({ name }) => name === 'p256')) {
      expect(withKey(node, fromHex(key))).toBe(invalidKey);
      expect(withKey(noble, fromHex(key))).toBe(invalidKey);
    }
  });

  it('may not be of another type than the suite’s, whoever signed it', () => {
    for (const [suite, other] of [
      [suiteX25519, suiteP256],
      [suiteP256, suiteX25519],
    ] as const) {
      const { issuing, leaf } = makePki(suite);
      expect(parsing(other, leaf.der)).toBe(wrongKeyType);
      const der = forge(suite, issuing.signer, leaf, (tbs) => {
        tbs.subjectPublicKeyInfo = decodeDer(makePki(other).leaf.der, X509).tbsCertificate.subjectPublicKeyInfo;
      });
      expect(parsing(suite, der)).toBe(wrongKeyType);
    }
  });

  it('may not be on another curve, have no curve or stand under the wrong algorithm', () => {
    const { issuing, leaf } = makePki(suiteP256);
    const ecPublicKey = '1.2.840.10045.2.1';
    for (const algorithm of [
      new AlgorithmIdentifier({ algorithm: ecPublicKey, parameters: fromHex('06052b8104000a').slice().buffer }),
      new AlgorithmIdentifier({ algorithm: ecPublicKey, parameters: null }),
      new AlgorithmIdentifier({ algorithm: ecPublicKey }),
      new AlgorithmIdentifier({ algorithm: '1.3.101.110' }),
    ]) {
      const der = forge(suiteP256, issuing.signer, leaf, (tbs) => (tbs.subjectPublicKeyInfo.algorithm = algorithm));
      expect(parsing(suiteP256, der)).toBe(wrongKeyType);
    }
  });
});

describe.each(nodeSuites)('against whoever alters certificates under $on', ({ suite }) => {
  const { root, issuing, leaf } = makePki(suite);
  const verdict = (der: Uint8Array): string =>
    refusal(() => verifyChain(suite, parseCertificate(suite, der), [issuing.certificate], [root.certificate], nowS));

  it('no bit of a certificate can be flipped: in every byte, some bit', () => {
    expect(verdict(leaf.der)).toBe('accepted');
    for (let i = 0; i < leaf.der.length; i++) {
      expect(verdict(flipBit(leaf.der, 8 * i + ((i * 5) & 7))), `byte ${i}`).not.toBe('accepted');
    }
  });

  it('no bits of a certificate can be flipped: any few of them', () => {
    const bits = fc.uniqueArray(fc.nat(leaf.der.length * 8 - 1), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(bits, (flipped) => {
        expect(verdict(flipped.reduce(flipBit, leaf.der))).not.toBe('accepted');
      }),
      { numRuns: 200 },
    );
  });

  it('no bytes can be replaced, cut out or put in; and nothing but our own errors comes of trying', () => {
    fc.assert(
      fc.property(fc.nat(leaf.der.length - 1), fc.nat(4), fc.uint8Array({ maxLength: 4 }), (at, cut, put) => {
        const altered = concatBytes(leaf.der.subarray(0, at), put, leaf.der.subarray(at + cut));
        fc.pre(!equalBytes(altered, leaf.der));
        expect(verdict(altered)).not.toBe('accepted');
      }),
      { numRuns: 200 },
    );
  });

  it('bytes that never were a certificate are malformed, deep nesting too', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(verdict(bytes)).toBe(malformed);
      }),
    );
    for (const head of ['3080', '2480', '30820400', 'a080', '0481']) {
      expect(verdict(fromHex(head.repeat(limits.certificate)).subarray(0, limits.certificate))).toBe(malformed);
    }
  });
});

describe.each(pairs)('$name on node:crypto and on noble', ({ node, noble }) => {
  it('take each other’s certificates, and read the same in them', () => {
    for (const [maker, reader] of [
      [node, noble],
      [noble, node],
    ] as const) {
      const { root, issuing, leaf } = makePki(maker);
      const [theirLeaf, theirIssuing, theirRoot] = [leaf, issuing.certificate, root.certificate].map(({ der }) =>
        parseCertificate(reader, der),
      );
      const verified = verifyChain(reader, theirLeaf!, [theirIssuing!], [theirRoot!], nowS, 'meter');
      expect(verified.certHash).toEqual(leaf.certHash);
      expect(verified.tbs).toEqual(leaf.tbs);
      expect(verified.signature).toEqual(leaf.signature);
    }
  });
});

describe('issuing refuses', () => {
  const suite = suiteX25519;
  const { root, issuing } = makePki(suite);
  const request: CertificateRequest = {
    issuer: issuing,
    subjectPublicKey: signerNamed(suite, 'm-2').publicKey,
    subject: { role: 'meter', id: 'm-2' },
    serial: filled(16, 1),
    notBeforeS: nowS,
    notAfterS: nowS + dayS,
  };
  const refused = 'SetupError certificate-request';
  const verdict = (change: Partial<CertificateRequest>): string =>
    refusal(() => issueCertificate(suite, { ...request, ...change }));

  it('nothing that is in order', () => {
    expect(verdict({})).toBe('accepted');
  });

  it.each<readonly [string, Partial<CertificateRequest>]>([
    ['an id in capitals', { subject: { role: 'meter', id: 'M-2' } }],
    ['an empty id', { subject: { role: 'meter', id: '' } }],
    ['an id of 65 characters', { subject: { role: 'meter', id: 'm'.repeat(65) } }],
    ['a CA without a name', { subject: { ca: 'issuing', name: '' }, issuer: root }],
    ['a CA with a name of 65 characters', { subject: { ca: 'issuing', name: 'n'.repeat(65) }, issuer: root }],
    ['an end before the beginning', { notAfterS: nowS - 1 }],
    ['an end at the beginning', { notAfterS: nowS }],
    ['a serial number of 15 bytes', { serial: filled(15, 1) }],
    ['a leaf that signs itself', { issuer: { signer: signerNamed(suite, 'm-2') } }],
    [
      'an issuing CA that signs itself',
      { issuer: { signer: signerNamed(suite, 'm-2') }, subject: { ca: 'issuing', name: 'n' } },
    ],
    ['a root signed with another key', { issuer: { signer: root.signer }, subject: { ca: 'root', name: 'n' } }],
    ['a root under another CA', { subject: { ca: 'root', name: 'n' }, issuer: root }],
    [
      'another key than the issuer’s certificate has',
      { issuer: { signer: root.signer, certificate: issuing.certificate } },
    ],
    ['a CA under one that may certify no further CA', { subject: { ca: 'issuing', name: 'n' } }],
  ])('%s', (_, change) => {
    expect(verdict(change)).toBe(refused);
  });

  it('a subject key that is none', () => {
    expect(verdict({ subjectPublicKey: fromHex('01' + '00'.repeat(31)) })).toBe(invalidKey);
  });

  it('never on account of the serial number: it is made positive and keeps its 16 bytes', () => {
    for (const byte of [0x00, 0x7f, 0x80, 0xff]) {
      const der = issueCertificate(suite, { ...request, serial: new Uint8Array(16).fill(byte) });
      const serial = new Uint8Array(decodeDer(der, X509).tbsCertificate.serialNumber);
      expect(serial).toHaveLength(16);
      expect(serial[0]).toBeGreaterThanOrEqual(0x40);
      expect(serial[0]).toBeLessThan(0x80);
      expect(parsing(suite, der)).toBe('accepted');
    }
  });
});

describe('PEM', () => {
  const { root, issuing, leaf } = makePki(suiteP256);
  const ders = [leaf.der, issuing.certificate.der, root.certificate.der];

  it('gives back the certificates of a file in their order, passing over what else is in it', () => {
    const key = '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n';
    const file = `subject: somebody\n${ders.map(toPem).join(key)}`;
    expect(fromPem(file)).toEqual(ders);
    expect(fromPem(file.replaceAll('\n', '\r\n'))).toEqual(ders);
  });

  it('has lines of 64 characters', () => {
    const lines = toPem(leaf.der).trimEnd().split('\n').slice(1, -1);
    expect(lines.slice(0, -1).every((line) => line.length === 64)).toBe(true);
  });

  it.each([
    ['an empty file', ''],
    ['a file without certificates', '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n'],
    ['a file cut short', toPem(leaf.der).slice(0, -30)],
    ['two certificates of which one is cut short', toPem(leaf.der) + toPem(leaf.der).slice(0, 300)],
    ['letters that are not Base64', toPem(leaf.der).replace('M', '*')],
    ['a lost letter', toPem(leaf.der).replace('M', '')],
  ])('refuses %s', (_, text) => {
    expect(refusal(() => fromPem(text))).toBe(malformed);
  });

  it('holds whatever the length', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 200 }), (bytes) => {
        expect(fromPem(toPem(bytes))).toEqual([bytes]);
      }),
    );
  });
});

it('a certificate issued again for the same request is another one under suite 2, and the same under suite 1', () => {
  const wish = { subject: { ca: 'root', name: 'Test root' } } as const;
  expect(equalBytes(issue(suiteX25519, wish), issue(suiteX25519, wish))).toBe(true);
  expect(equalBytes(issue(suiteP256, wish), issue(suiteP256, wish))).toBe(false);
});
