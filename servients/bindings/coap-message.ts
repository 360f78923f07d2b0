/**
 * CoAP messages (RFC 7252 §3) parsed strictly, with options by number. The library's own parser reads past the end of
 * truncated options and accepts long tokens, so no datagram of a peer reaches it on the server's side.
 */
import { MalformedError } from '../../crypto/errors.js';

/** Option numbers of RFC 7252, 7641, 7959 and 9175. */
export const optionNumber = {
  uriHost: 3,
  etag: 4,
  observe: 6,
  uriPort: 7,
  locationPath: 8,
  uriPath: 11,
  contentFormat: 12,
  maxAge: 14,
  uriQuery: 15,
  accept: 17,
  block2: 23,
  block1: 27,
  proxyUri: 35,
  proxyScheme: 39,
  size1: 60,
  requestTag: 292,
} as const;

export type CoapOption = readonly [number: number, value: Buffer];

export interface CoapMessage {
  readonly type: 'con' | 'non' | 'ack' | 'rst';
  /** As in `0.02` or `4.04`. */
  readonly code: string;
  readonly messageId: number;
  readonly token: Buffer;
  readonly options: readonly CoapOption[];
  readonly payload: Buffer;
}

const types = ['con', 'non', 'ack', 'rst'] as const;
const emptyBytes = Buffer.alloc(0);

/** What a datagram holds; undefined for a message format error (RFC 7252 §3, §4.2). */
export function parseMessage(datagram: Buffer): CoapMessage | undefined {
  if (datagram.length < 4 || datagram.readUInt8(0) >> 6 !== 1) return undefined;
  const tokenLength = datagram.readUInt8(0) & 15;
  const codeByte = datagram.readUInt8(1);
  const bodyStart = 4 + tokenLength;
  if (tokenLength > 8 || bodyStart > datagram.length || (codeByte === 0 && datagram.length > 4)) return undefined;
  const body = parseBody(datagram, bodyStart);
  return (
    body && {
      type: types[(datagram.readUInt8(0) >> 4) & 3] ?? 'con',
      code: `${codeByte >> 5}.${String(codeByte & 31).padStart(2, '0')}`,
      messageId: datagram.readUInt16BE(2),
      token: datagram.subarray(4, bodyStart),
      ...body,
    }
  );
}

function parseBody(datagram: Buffer, start: number): Pick<CoapMessage, 'options' | 'payload'> | undefined {
  const options: CoapOption[] = [];
  let number = 0;
  let position = start;
  while (position < datagram.length) {
    const head = datagram.readUInt8(position);
    if (head === 0xff) {
      const payload = datagram.subarray(position + 1);
      return payload.length > 0 ? { options, payload } : undefined;
    }
    const delta = extended(datagram, position + 1, head >> 4);
    const length = delta && extended(datagram, delta.next, head & 15);
    if (!length || length.next + length.value > datagram.length) return undefined;
    number += delta.value;
    position = length.next + length.value;
    options.push([number, datagram.subarray(length.next, position)]);
  }
  return { options, payload: emptyBytes };
}

/** Option delta and length of RFC 7252 §3.1. */
function extended(datagram: Buffer, at: number, nibble: number): { value: number; next: number } | undefined {
  if (nibble < 13) return { value: nibble, next: at };
  if (nibble === 13 && at < datagram.length) return { value: datagram.readUInt8(at) + 13, next: at + 1 };
  if (nibble === 14 && at + 1 < datagram.length) return { value: datagram.readUInt16BE(at) + 269, next: at + 2 };
  return undefined;
}

/** A message without options and payload: an empty ACK or RST (code 0.00, no token), or a bare response. */
export function bareMessage(
  type: CoapMessage['type'],
  code: string,
  messageId: number,
  token: Buffer = emptyBytes,
): Buffer {
  const [codeClass, detail] = code.split('.').map(Number) as [number, number];
  const head = Buffer.of(0x40 | (types.indexOf(type) << 4) | token.length, (codeClass << 5) | detail, 0, 0);
  head.writeUInt16BE(messageId, 2);
  return Buffer.concat([head, token]);
}

/** RFC 7252 §3.2: big-endian without leading zeros. */
export function uintOption(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = value; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return Buffer.from(bytes);
}

/** @throws MalformedError `option-malformed` above 4 bytes */
function readUint(value: Buffer): number {
  if (value.length > 4) throw new MalformedError('option-malformed', 'an integer option is longer than 4 bytes');
  return value.length === 0 ? 0 : value.readUIntBE(0, value.length);
}

/** The value of the first option of that number. */
export const optionValue = (options: readonly CoapOption[], wanted: number): Buffer | undefined =>
  options.find(([number]) => number === wanted)?.[1];

/** The same as an integer. @throws MalformedError `option-malformed` */
export function uintValue(options: readonly CoapOption[], wanted: number): number | undefined {
  const value = optionValue(options, wanted);
  return value && readUint(value);
}

/** Block1 or Block2 (RFC 7959 §2.2). */
export interface Block {
  readonly num: number;
  readonly more: boolean;
  /** Bytes: 16 to 1024. */
  readonly size: number;
}

export const maxBlockSize = 1_024;

export function blockOption({ num, more, size }: Block): Buffer {
  return uintOption(num * 16 + (more ? 8 : 0) + Math.log2(size) - 4);
}

/** @throws MalformedError `option-malformed` above 3 bytes or for the reserved size exponent */
export function blockValue(options: readonly CoapOption[], wanted: number): Block | undefined {
  const value = optionValue(options, wanted);
  if (value === undefined) return undefined;
  const bits = readUint(value);
  if (value.length > 3 || (bits & 7) === 7) throw new MalformedError('option-malformed', 'not a valid block option');
  return { num: bits >>> 4, more: (bits & 8) !== 0, size: 16 << (bits & 7) };
}

/** What is answered: the code as in `2.05`, options, and a payload that fits one message. */
export interface Reply {
  readonly code: string;
  readonly options?: readonly CoapOption[];
  readonly payload?: Uint8Array;
}
