/** Messages that are nearly right: what a parser finds hardest to refuse. */
import type { SeededRandom } from '../../servients/sim/random.js';

const below = (random: SeededRandom, count: number): number => Math.floor(random.next() * count);

const pick = <T>(random: SeededRandom, choices: readonly T[]): T => {
  const choice = choices[below(random, choices.length)];
  if (choice === undefined) throw new RangeError('nothing to choose from');
  return choice;
};

type Mutation = (random: SeededRandom, bytes: Uint8Array, other: Uint8Array) => Uint8Array;

/** Heads of CBOR and DER items, and the ends of integer ranges. */
const tellingBytes = [0x00, 0x01, 0x17, 0x18, 0x1b, 0x1f, 0x20, 0x30, 0x3b, 0x40, 0x5f, 0x7f, 0x80, 0x9f, 0xa0, 0xbf];
const telling = [...tellingBytes, 0xc2, 0xd2, 0xd8, 0xf4, 0xf6, 0xf7, 0xf9, 0xfb, 0xff];

const withByte = (bytes: Uint8Array, at: number, change: (byte: number) => number): Uint8Array =>
  bytes.map((byte, i) => (i === at ? change(byte) : byte));

const concat = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));

const mutations: readonly Mutation[] = [
  (random, bytes) => withByte(bytes, below(random, bytes.length), (byte) => byte ^ (1 << below(random, 8))),
  (random, bytes) => withByte(bytes, below(random, bytes.length), () => pick(random, telling)),
  (random, bytes) => withByte(bytes, below(random, bytes.length), (byte) => byte + (random.next() < 0.5 ? 1 : 255)),
  (random, bytes) => bytes.subarray(0, below(random, bytes.length)),
  (random, bytes) => {
    const [from, to] = [below(random, bytes.length), below(random, bytes.length)].sort((a, b) => a - b) as [
      number,
      number,
    ];
    return concat(bytes.subarray(0, from), bytes.subarray(to));
  },
  (random, bytes) => {
    const [at, from] = [below(random, bytes.length), below(random, bytes.length)];
    return concat(bytes.subarray(0, at), bytes.subarray(from, from + below(random, 64)), bytes.subarray(at));
  },
  (random, bytes) => {
    const at = below(random, bytes.length);
    const fresh = Uint8Array.from({ length: 1 + below(random, 9) }, () => pick(random, telling));
    return concat(bytes.subarray(0, at), fresh, bytes.subarray(at));
  },
  (random, bytes, other) =>
    concat(bytes.subarray(0, below(random, bytes.length)), other.subarray(below(random, other.length))),
];

/** One to four changes to one of the valid messages; the others are what it is crossed with. */
export function mutate(random: SeededRandom, valid: readonly Uint8Array[]): Uint8Array {
  let bytes = pick(random, valid);
  for (let changes = 1 + below(random, 4); changes > 0 && bytes.length > 0; changes--) {
    bytes = pick(random, mutations)(random, bytes, pick(random, valid));
  }
  return bytes;
}
