/** Block-wise transfer (RFC 7959) in bounded memory: uploads under assembly, and large replies that are being fetched. */
import { createHash } from 'node:crypto';
import { MalformedError } from '../../crypto/errors.js';
import { blockOption, maxBlockSize, optionNumber, type Block, type Reply } from './coap-message.js';
import { CoapRefusal } from './coap-refusal.js';

export interface BlockLimits {
  /** Largest assembled body. */
  readonly bodyBytes: number;
  /** Transfers under way at the same time, in either direction. */
  readonly transfers: number;
  /** All large replies together. */
  readonly replyBytes: number;
  /** How long a transfer waits for its next block. */
  readonly idleMs: number;
}

interface Upload {
  readonly source: string;
  readonly bytes: Buffer;
  readonly length: number;
  readonly expiresMs: number;
}

export class Uploads {
  readonly #limits: BlockLimits;
  /** Least recently active first. */
  readonly #uploads = new Map<string, Upload>();

  constructor(limits: BlockLimits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#uploads.size;
  }

  /**
   * Takes a block of the transfer `key` from the address `source`; the whole body with the last one, else undefined. The
   * block before it may come again: its sender has not heard that it arrived.
   * @throws MalformedError `too-large`, `block-malformed`; CoapRefusal `blocks-missing` (4.08) when it is not the next
   */
  add(key: string, source: string, { num, more, size }: Block, payload: Buffer): Buffer | undefined {
    const offset = num * size;
    if (offset + payload.length > this.#limits.bodyBytes) {
      this.#uploads.delete(key);
      throw new MalformedError('too-large', `more than ${this.#limits.bodyBytes} bytes`);
    }
    if (more ? payload.length !== size : payload.length > size) {
      throw new MalformedError('block-malformed', 'the block does not have the length that its option says');
    }
    const nowMs = Date.now();
    const known = num === 0 ? undefined : this.#uploads.get(key);
    if (more && known !== undefined && isLastOf(known, offset, payload)) return undefined;
    if (offset !== (known?.length ?? 0) || (known !== undefined && known.expiresMs <= nowMs)) {
      throw new CoapRefusal('4.08', 'blocks-missing', 'earlier blocks of this transfer are not here; begin again');
    }
    this.#uploads.delete(key);
    const bytes = append(known?.bytes ?? Buffer.alloc(0), offset, payload);
    if (!more) return bytes.subarray(0, offset + payload.length);
    this.#uploads.set(key, { source, bytes, length: offset + size, expiresMs: nowMs + this.#limits.idleMs });
    this.#makeRoom(nowMs);
    return undefined;
  }

  /** Whoever has most transfers open loses the one that waits longest, so that a flood evicts itself. */
  #makeRoom(nowMs: number): void {
    if (this.#uploads.size <= this.#limits.transfers) return;
    const open = new Map<string, number>();
    for (const [key, { source, expiresMs }] of this.#uploads) {
      if (expiresMs <= nowMs) this.#uploads.delete(key);
      else open.set(source, (open.get(source) ?? 0) + 1);
    }
    if (this.#uploads.size <= this.#limits.transfers) return;
    const most = Math.max(...open.values());
    for (const [key, { source }] of this.#uploads) {
      if (open.get(source) !== most) continue;
      this.#uploads.delete(key);
      return;
    }
  }
}

const isLastOf = ({ bytes, length }: Upload, offset: number, payload: Buffer): boolean =>
  offset + payload.length === length && bytes.subarray(offset, length).equals(payload);

/** Grows by doubling: many small blocks must not cost a buffer each. */
function append(bytes: Buffer, length: number, payload: Buffer): Buffer {
  const needed = length + payload.length;
  const grown = needed <= bytes.length ? bytes : Buffer.alloc(Math.max(needed, 2 * bytes.length));
  if (grown !== bytes) bytes.copy(grown, 0, 0, length);
  payload.copy(grown, length);
  return grown;
}

interface Download {
  readonly reply: Reply;
  readonly bytes: number;
  readonly expiresMs: number;
}

export class Downloads {
  readonly #limits: BlockLimits;
  /** Least recently used first. */
  readonly #downloads = new Map<string, Download>();
  #bytes = 0;

  constructor(limits: BlockLimits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#downloads.size;
  }

  /** The reply as it is when it fits; else its block that was asked for, and the rest is kept under `key`. */
  begin(key: string, reply: Reply, asked: Block | undefined): Reply {
    const size = Math.min(asked?.size ?? maxBlockSize, maxBlockSize);
    const num = asked?.num ?? 0;
    if ((reply.payload?.length ?? 0) <= size && num === 0) return reply;
    const whole: Reply = { ...reply, options: [...(reply.options ?? []), [optionNumber.etag, etagOf(reply)]] };
    this.#keep(key, whole);
    return cut(whole, num, size);
  }

  /** A later block of what is kept under `key`; undefined when nothing is. @throws MalformedError `block-out-of-range` */
  next(key: string, { num, size }: Block): Reply | undefined {
    const kept = this.#downloads.get(key);
    if (kept === undefined || kept.expiresMs <= Date.now()) return undefined;
    this.#keep(key, kept.reply);
    return cut(kept.reply, num, size);
  }

  #keep(key: string, reply: Reply): void {
    this.#drop(key);
    const bytes = reply.payload?.length ?? 0;
    this.#downloads.set(key, { reply, bytes, expiresMs: Date.now() + this.#limits.idleMs });
    this.#bytes += bytes;
    for (const oldest of this.#downloads.keys()) {
      if (this.#downloads.size <= this.#limits.transfers && this.#bytes <= this.#limits.replyBytes) break;
      this.#drop(oldest);
    }
  }

  #drop(key: string): void {
    this.#bytes -= this.#downloads.get(key)?.bytes ?? 0;
    this.#downloads.delete(key);
  }
}

function cut({ code, options = [], payload = new Uint8Array(0) }: Reply, num: number, size: number): Reply {
  const start = num * size;
  if (start >= payload.length) throw new MalformedError('block-out-of-range', 'there is no block of that number');
  const more = start + size < payload.length;
  return {
    code,
    options: [...options, [optionNumber.block2, blockOption({ num, more, size })]],
    payload: payload.subarray(start, start + size),
  };
}

const etagOf = ({ payload }: Reply): Buffer =>
  createHash('sha256')
    .update(payload ?? '')
    .digest()
    .subarray(0, 8);
