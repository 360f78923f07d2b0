import { createPublicKey, verify, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { decode as cbor2Decode, encode as cbor2Encode, Tag } from 'cbor2';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { concatBytes, fromHex, toBase64Url, toHex, utf8 } from '../../crypto/bytes.js';
import { encode, type CborItem } from '../../crypto/cbor.js';
import {
  assembleSign1,
  decrypt0,
  encrypt0,
  parseSign1,
  protectedHeader,
  sign1,
  verifySign1,
  type SignatureContext,
} from '../../crypto/cose.js';
import { suiteP256, suiteX25519 } from '../../crypto/suite-node.js';
import type { Suite } from '../../crypto/suite.js';
import { refusal } from './refusal.js';
import { allSuites, filled, pairs } from './suite-pairs.js';

const maxBytes = 220;
const kid = filled(8, 1);
const context: SignatureContext = { type: 'token', context: filled(32, 2) };
const payload = encode([filled(8, 3), filled(32, 4), filled(16, 5), filled(16, 6), filled(16, 7)]);
const malformed = 'MalformedError cose-malformed';
const notDeterministic = 'MalformedError cbor-not-deterministic';
const badSignature = 'VerificationError signature-invalid';
const badAlgorithm = 'VerificationError algorithm-mismatch';

const signerOf = (suite: Suite): ReturnType<Suite['signer']> => suite.signer(filled(32, 9));
const signed = (suite: Suite): Uint8Array => sign1(suite, signerOf(suite), kid, context, payload);

/** What a receiver does, in the order of protocol §5. */
function receive(suite: Suite, bytes: Uint8Array, expected = context): string {
  const verifier = suite.verifier(signerOf(suite).publicKey);
  return refusal(() => {
    verifySign1(suite, verifier, parseSign1(bytes, maxBytes), expected);
  });
}

interface Key {
  readonly curve: 'P-256' | 'Ed25519';
  readonly x: string;
  readonly y?: string;
}

const keyObject = ({ curve, x, y }: Key): KeyObject =>
  createPublicKey({
    key: curve === 'Ed25519' ? { kty: 'OKP', crv: curve, x } : { kty: 'EC', crv: curve, x, y: y ?? '' },
    format: 'jwk',
  });

const sign1Tag = 18;
type Sign1Array = readonly [Uint8Array, ReadonlyMap<number, unknown>, Uint8Array, Uint8Array];

function readByCbor2(message: Uint8Array): Sign1Array {
  const { tag, contents } = cbor2Decode<Tag>(message, { preferMap: true });
  expect(tag).toBe(sign1Tag);
  return contents as Sign1Array;
}

/** RFC 9052 §4.4 once more, from its text and another CBOR library: shares nothing with `cose.ts`. */
const sigStructure = ([header, , content]: Sign1Array, externalAad: Uint8Array): Uint8Array =>
  cbor2Encode(['Signature1', header, externalAad, content], { cde: true });

function verifiesByReference(key: Key, message: Uint8Array, externalAad: Uint8Array): boolean {
  const items = readByCbor2(message);
  const keyWithForm = { key: keyObject(key), dsaEncoding: 'ieee-p1363' } as const;
  return verify(key.curve === 'P-256' ? 'sha256' : null, sigStructure(items, externalAad), keyWithForm, items[3]);
}

function keyOf(suite: Suite): Key {
  const { publicKey } = signerOf(suite);
  if (suite.name === 'x25519') return { curve: 'Ed25519', x: toBase64Url(publicKey) };
  return { curve: 'P-256', x: toBase64Url(publicKey.slice(1, 33)), y: toBase64Url(publicKey.slice(33)) };
}

const vectors = (file: string): readonly unknown[] =>
  (
    JSON.parse(readFileSync(new URL(`../vectors/cose/${file}.json`, import.meta.url), 'utf8')) as {
      readonly examples: readonly unknown[];
    }
  ).examples;

interface Sign1Example {
  readonly name: string;
  readonly key: Key;
  readonly externalAad: string;
  readonly toBeSigned: string;
  readonly message: string;
}

describe.each(vectors('sign1') as readonly Sign1Example[])('the example of others, $name', (example) => {
  const message = fromHex(example.message);
  const externalAad = fromHex(example.externalAad);

  it('verifies under the reference verifier of this file, which builds the same Sig_structure', () => {
    expect(toHex(sigStructure(readByCbor2(message), externalAad))).toBe(example.toBeSigned);
    expect(verifiesByReference(example.key, message, externalAad)).toBe(true);
    expect(verifiesByReference(example.key, message, Uint8Array.of(0))).toBe(false);
  });

  it('is refused by our parser, for its unprotected header is not empty', () => {
    expect(refusal(() => parseSign1(message, maxBytes))).toBe(malformed);
  });
});

describe.each(allSuites)('a COSE_Sign1 under $on', ({ suite }) => {
  const message = signed(suite);

  it('verifies, and comes apart into what was signed', () => {
    expect(receive(suite, message)).toBe('accepted');
    const parsed = parseSign1(message, maxBytes);
    expect(parsed.kid).toEqual(kid);
    expect(parsed.payload).toEqual(payload);
    expect(parsed.algorithm).toBe(suite.signatureAlgorithm);
    expect(assembleSign1(parsed.protectedHeader, parsed.payload, parsed.signature)).toEqual(message);
    expect(protectedHeader(parsed.algorithm, kid)).toEqual(parsed.protectedHeader);
  });

  it('is what RFC 9052 says, in the eyes of the reference verifier', () => {
    const externalAad = cbor2Encode(['gridring1', 'token', context.context], { cde: true });
    expect(verifiesByReference(keyOf(suite), message, externalAad)).toBe(true);
    const [header, unprotected] = readByCbor2(message);
    expect(unprotected.size).toBe(0);
    expect(cbor2Decode(header, { preferMap: true })).toEqual(
      new Map<number, unknown>([
        [1, suite.signatureAlgorithm],
        [4, kid],
      ]),
    );
  });

  it('takes what another library made of the same parts', () => {
    const header = cbor2Encode(
      new Map<number, unknown>([
        [1, suite.signatureAlgorithm],
        [4, kid],
      ]),
      { cde: true },
    );
    const externalAad = cbor2Encode(['gridring1', 'token', context.context], { cde: true });
    const empty = new Map<number, unknown>();
    const toBeSigned = sigStructure([header, empty, payload, new Uint8Array(0)], externalAad);
    const signature = signerOf(suite).sign(toBeSigned);
    const theirs = cbor2Encode(new Tag(sign1Tag, [header, empty, payload, signature]), { cde: true });
    expect(receive(suite, theirs)).toBe('accepted');
  });

  it('adds 85 bytes to a payload of up to 255', () => {
    expect(message.length - payload.length).toBe(85);
  });

  it('says nothing under another type or another context', () => {
    expect(receive(suite, message, { ...context, type: 'share' })).toBe(badSignature);
    expect(receive(suite, message, { ...context, context: filled(32, 8) })).toBe(badSignature);
    expect(receive(suite, message, { ...context, context: context.context.subarray(1) })).toBe(badSignature);
    expect(receive(suite, message, { type: '', context: concatBytes(utf8('token'), context.context) })).toBe(
      badSignature,
    );
  });

  it('says nothing under another key', () => {
    const other = suite.verifier(suite.signer(filled(32, 10)).publicKey);
    const act = (): void => {
      verifySign1(suite, other, parseSign1(message, maxBytes), context);
    };
    expect(refusal(act)).toBe(badSignature);
  });

  it('is one byte too large when it is', () => {
    expect(refusal(() => parseSign1(message, message.length))).toBe('accepted');
    expect(refusal(() => parseSign1(message, message.length - 1))).toBe('MalformedError too-large');
  });

  it('does not verify with any one bit flipped', () => {
    const everyBit = Array.from({ length: message.length * 8 }, (_, bit) => bit);
    // noble verifies in milliseconds, so it gets every 13th bit.
    const bits = suite === suiteX25519 || suite === suiteP256 ? everyBit : everyBit.filter((bit) => bit % 13 === 0);
    for (const bit of bits) expect(receive(suite, flipBit(message, bit)), `bit ${bit}`).not.toBe('accepted');
  });

  it('does not verify with bytes replaced, cut out or put in', () => {
    fc.assert(
      fc.property(fc.nat(message.length - 1), fc.nat(4), fc.uint8Array({ maxLength: 4 }), (at, cut, put) => {
        const altered = concatBytes(message.subarray(0, at), put, message.subarray(at + cut));
        fc.pre(toHex(altered) !== toHex(message));
        expect(receive(suite, altered)).not.toBe('accepted');
      }),
      { numRuns: 200 },
    );
  });
});

const flipBit = (bytes: Uint8Array, bit: number): Uint8Array =>
  bytes.map((byte, i) => (i === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));

describe.each(pairs)('$name on node:crypto and on noble', ({ node, noble }) => {
  it('verify each other’s messages', () => {
    expect(receive(node, signed(noble))).toBe('accepted');
    expect(receive(noble, signed(node))).toBe('accepted');
  });
});

describe('algorithm confusion', () => {
  const directions = [
    { from: suiteX25519, to: suiteP256 },
    { from: suiteP256, to: suiteX25519 },
  ];

  it.each(directions)('a message of suite $from.id is nothing under suite $to.id', ({ from, to }) => {
    expect(receive(to, signed(from))).toBe(badAlgorithm);
  });

  it.each(directions)('a header that says suite $to.id does not make it one of suite $from.id', ({ from, to }) => {
    const { signature } = parseSign1(signed(from), maxBytes);
    const swapped = assembleSign1(protectedHeader(to.signatureAlgorithm, kid), payload, signature);
    expect(receive(to, swapped)).toBe(badSignature);
    expect(receive(from, swapped)).toBe(badAlgorithm);
  });

  it.each([-7, -8, 0, 1, -999])('algorithm %i is refused: another, or an older name of the suite’s', (algorithm) => {
    for (const suite of [suiteX25519, suiteP256]) {
      const header = protectedHeader(algorithm, kid);
      const toBeSigned = encode(['Signature1', header, encode(['gridring1', 'token', context.context]), payload]);
      expect(receive(suite, assembleSign1(header, payload, signerOf(suite).sign(toBeSigned)))).toBe(badAlgorithm);
    }
  });
});

describe('the parser refuses', () => {
  const suite = suiteX25519;
  const header = protectedHeader(suite.signatureAlgorithm, kid);
  const { signature } = parseSign1(signed(suite), maxBytes);
  const empty = new Map<number, CborItem>();
  const tag = Uint8Array.of(0xd2);
  const verdict = (bytes: Uint8Array): string => refusal(() => parseSign1(bytes, maxBytes));
  const message = (...items: readonly CborItem[]): Uint8Array => concatBytes(tag, encode(items));
  const withHeader = (...fields: readonly CborItem[]): Uint8Array =>
    message(raw(Uint8Array.of(0xa0 + fields.length / 2), ...fields.map(encode)), empty, payload, signature);
  const raw = (...parts: readonly (Uint8Array | string)[]): Uint8Array =>
    concatBytes(...parts.map((part) => (typeof part === 'string' ? fromHex(part) : part)));

  it('nothing else about the pieces that these cases are made of', () => {
    expect(verdict(message(header, empty, payload, signature))).toBe('accepted');
    expect(verdict(withHeader(1, -19, 4, kid))).toBe('accepted');
  });

  it.each<readonly [string, Uint8Array]>([
    ['no tag', encode([header, empty, payload, signature])],
    ['the tag of COSE_Mac0', raw('d1', encode([header, empty, payload, signature]))],
    ['the tag of COSE_Encrypt0', raw('d0', encode([header, empty, payload, signature]))],
    ['the tag of COSE_Sign', raw('d862', encode([header, empty, payload, signature]))],
    ['the tag in two bytes', raw('d812', encode([header, empty, payload, signature]))],
    ['an unprotected header with a field', message(header, new Map([[4, kid]]), payload, signature)],
    ['an unprotected header with an unknown field', message(header, new Map([[-70_000, 1]]), payload, signature)],
    ['a detached payload', message(header, empty, null, signature)],
    ['a payload that is text', message(header, empty, 'payload', signature)],
    ['a protected header that is a map', message(new Map([[1, -19]]), empty, payload, signature)],
    ['an unprotected header that is bytes', message(header, new Uint8Array(0), payload, signature)],
    ['a signature of 63 bytes', message(header, empty, payload, signature.subarray(1))],
    ['a signature of 65 bytes', message(header, empty, payload, concatBytes(signature, Uint8Array.of(0)))],
    ['no signature', message(header, empty, payload, new Uint8Array(0))],
    ['a signature that is nil', message(header, empty, payload, null)],
    ['three items', message(header, empty, payload)],
    ['five items', message(header, empty, payload, signature, null)],
    ['a map in place of the array', concatBytes(tag, encode(new Map([[1, payload]])))],
    ['a header with one field more', withHeader(1, -19, 3, 0, 4, kid)],
    ['a header with a critical field', withHeader(1, -19, 2, [4], 4, kid)],
    ['a header without kid', withHeader(1, -19)],
    ['a header without algorithm', withHeader(4, kid)],
    ['a header with another field for the kid', withHeader(1, -19, 5, kid)],
    ['an algorithm by name', withHeader(1, 'EdDSA', 4, kid)],
    ['a kid of 7 bytes', withHeader(1, -19, 4, kid.subarray(1))],
    ['a kid of 9 bytes', withHeader(1, -19, 4, filled(9, 1))],
    ['a kid of 16 bytes', withHeader(1, -19, 4, filled(16, 1))],
    ['a kid that is text', withHeader(1, -19, 4, '12345678')],
    ['a header that is no map', message(encode([1, -19]), empty, payload, signature)],
  ])('%s', (_, bytes) => {
    expect(verdict(bytes)).toBe(malformed);
  });

  it.each<readonly [string, Uint8Array, string]>([
    [
      'a header whose fields are out of order',
      message(raw('a20448', kid, '0132'), empty, payload, signature),
      notDeterministic,
    ],
    [
      'a header with an algorithm of two bytes',
      message(raw('a2013812', '0448', kid), empty, payload, signature),
      'MalformedError cbor-malformed',
    ],
    [
      'a header with the algorithm twice',
      message(raw('a301320132', '0448', kid), empty, payload, signature),
      'MalformedError cbor-malformed',
    ],
    [
      'a header with bytes after it',
      message(concatBytes(header, Uint8Array.of(0)), empty, payload, signature),
      'MalformedError cbor-malformed',
    ],
    ['an empty header', message(new Uint8Array(0), empty, payload, signature), 'MalformedError cbor-malformed'],
    [
      'a header of more than 32 bytes',
      message(encode(new Map([[4, filled(40, 1)]])), empty, payload, signature),
      'MalformedError too-large',
    ],
    [
      'an array of indefinite length',
      raw(tag, '9f', encode(header), 'a0', encode(payload), encode(signature), 'ff'),
      'MalformedError cbor-malformed',
    ],
    [
      'a payload with a longer head than it needs',
      raw(tag, '84', encode(header), 'a0', '59005f', payload, encode(signature)),
      'MalformedError cbor-malformed',
    ],
    [
      'an unprotected header of indefinite length',
      raw(tag, '84', encode(header), 'bfff', encode(payload), encode(signature)),
      'MalformedError cbor-malformed',
    ],
    [
      'a tag within the tag',
      raw(tag, tag, encode([header, empty, payload, signature])),
      'MalformedError cbor-malformed',
    ],
    ['bytes after the message', raw(message(header, empty, payload, signature), '00'), 'MalformedError cbor-malformed'],
    ['nothing', new Uint8Array(0), malformed],
    ['a tag and nothing', tag, 'MalformedError cbor-malformed'],
  ])('%s', (_, bytes, expected) => {
    expect(verdict(bytes)).toBe(expected);
  });

  it('a message cut short at every byte', () => {
    const whole = signed(suite);
    for (let length = 0; length < whole.length; length++) {
      expect(verdict(whole.subarray(0, length))).toMatch(/^MalformedError (?:cose|cbor)-malformed$/);
    }
  });
});

interface Encrypt0Example {
  readonly suite: string;
  readonly key: string;
  readonly nonce: string;
  readonly externalAad: string;
  readonly plaintext: string;
  readonly protectedHeader: string;
  readonly ciphertext: string;
}

describe.each(allSuites)('a COSE_Encrypt0 under $on', ({ suite }) => {
  const key = filled(suite.aeadKeyBytes, 11);
  const nonce = filled(12, 12);
  const externalAad = encode(['gridring1', 'reading', filled(16, 13)]);
  const plaintext = utf8('12.5 kWh');
  const sealed = encrypt0(suite, key, nonce, externalAad, plaintext);
  const open = (bytes: Uint8Array, aad = externalAad, max = maxBytes): Uint8Array =>
    decrypt0(suite, key, nonce, aad, bytes, max);

  it('seals as the COSE examples do, and opens them', () => {
    const examples = (vectors('encrypt0') as readonly Encrypt0Example[]).filter(
      (example) => example.suite === suite.name,
    );
    expect(examples).toHaveLength(1);
    for (const example of examples) {
      const expected = concatBytes(
        Uint8Array.of(0xd0),
        encode([fromHex(example.protectedHeader), new Map<number, CborItem>(), fromHex(example.ciphertext)]),
      );
      const [theirKey, theirNonce, aad, theirPlaintext] = [
        fromHex(example.key),
        fromHex(example.nonce),
        fromHex(example.externalAad),
        fromHex(example.plaintext),
      ];
      expect(encrypt0(suite, theirKey, theirNonce, aad, theirPlaintext)).toEqual(expected);
      expect(decrypt0(suite, theirKey, theirNonce, aad, expected, maxBytes)).toEqual(theirPlaintext);
    }
  });

  it('opens under its key, nonce and context, and under no other', () => {
    expect(open(sealed)).toEqual(plaintext);
    const invalid = 'VerificationError seal-invalid';
    expect(refusal(() => open(sealed, encode(['gridring1', 'grant', filled(16, 13)])))).toBe(invalid);
    expect(refusal(() => decrypt0(suite, filled(suite.aeadKeyBytes, 14), nonce, externalAad, sealed, maxBytes))).toBe(
      invalid,
    );
    expect(refusal(() => decrypt0(suite, key, filled(12, 15), externalAad, sealed, maxBytes))).toBe(invalid);
  });

  it('does not open with any one bit flipped', () => {
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      expect(
        refusal(() => open(flipBit(sealed, bit))),
        `bit ${bit}`,
      ).not.toBe('accepted');
    }
  });

  it('is refused in any other form', () => {
    const [header, , ciphertext] = cbor2Decode<Tag>(sealed, { preferMap: true }).contents as readonly Uint8Array[];
    const message = (tag: number, ...items: readonly CborItem[]): Uint8Array =>
      concatBytes(Uint8Array.of(tag), encode(items));
    const empty = new Map<number, CborItem>();
    expect(refusal(() => open(message(0xd0, header!, empty, ciphertext!)))).toBe('accepted');
    expect(refusal(() => open(message(0xd2, header!, empty, ciphertext!)))).toBe(malformed);
    expect(refusal(() => open(message(0xd0, header!, new Map([[5, nonce]]), ciphertext!)))).toBe(malformed);
    expect(refusal(() => open(message(0xd0, header!, empty, null)))).toBe(malformed);
    expect(refusal(() => open(message(0xd0, header!, empty)))).toBe(malformed);
    expect(refusal(() => open(message(0xd0, encode(new Map([[1, 3]])), empty, ciphertext!)))).toBe(badAlgorithm);
    expect(refusal(() => open(message(0xd0, header!, empty, new Uint8Array(15))))).toBe(
      'VerificationError seal-invalid',
    );
    expect(refusal(() => open(sealed, externalAad, sealed.length - 1))).toBe('MalformedError too-large');
  });

  it('of one suite is refused by the other', () => {
    const other = suite.id === 1 ? suiteP256 : suiteX25519;
    const act = (): Uint8Array => decrypt0(other, filled(other.aeadKeyBytes, 11), nonce, externalAad, sealed, maxBytes);
    expect(refusal(act)).toBe(badAlgorithm);
  });
});
