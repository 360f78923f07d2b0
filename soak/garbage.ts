/** Datagrams that a CoAP server should not have to do with. */
import { randomBytes } from 'node:crypto';
import type { SeededRandom } from '../servients/sim/random.js';
import { mutate } from './fuzz/mutate.js';

export interface UdpTarget {
  readonly port: number;
  readonly thing: string;
  readonly actions: readonly string[];
}

/** Bytes without sense, requests with mutated messages, uploads that begin and never end, and observers by the dozen. */
export function garbage({ thing, actions }: UdpTarget, messages: readonly Uint8Array[], random: SeededRandom): Buffer {
  const kind = random.next();
  if (kind < 0.3) return randomBytes(1 + Math.floor(random.next() * 200));
  const token = randomBytes(4);
  const action = actions[Math.floor(random.next() * actions.length)] ?? '';
  if (kind < 0.4) return coap(0x01, token, [[6, Buffer.alloc(0)], ...path(thing, 'properties', 'keyStatus')]);
  const body = mutate(random, messages).subarray(0, 1_024);
  const block = kind < 0.6 ? ([[27, Buffer.of(0x0e)]] as const) : [];
  const payload = kind < 0.6 ? randomBytes(1_024) : body;
  return coap(0x02, token, [...path(thing, 'actions', action), [12, Buffer.of(18)], ...block], payload);
}

const path = (...segments: readonly string[]): readonly (readonly [number, Buffer])[] =>
  segments.map((segment) => [11, Buffer.from(segment)] as const);

function coap(
  code: number,
  token: Buffer,
  options: readonly (readonly [number, Buffer])[],
  payload: Uint8Array = Buffer.alloc(0),
): Buffer {
  const head = Buffer.of(0x40 | token.length, code, ...randomBytes(2));
  let before = 0;
  const encoded = options.map(([number, value]) => {
    const delta = number - before;
    before = number;
    const [deltaNibble, deltaMore] = nibbleOf(delta);
    const [lengthNibble, lengthMore] = nibbleOf(value.length);
    return Buffer.concat([Buffer.of((deltaNibble << 4) | lengthNibble), deltaMore, lengthMore, value]);
  });
  const marked = payload.length > 0 ? [Buffer.of(0xff), payload] : [];
  return Buffer.concat([head, token, ...encoded, ...marked]);
}

const nibbleOf = (value: number): readonly [number, Buffer] =>
  value < 13 ? [value, Buffer.alloc(0)] : [13, Buffer.of(value - 13)];
