/**
 * What is inside a backup, after age (docs/backup.md): a CBOR sequence (RFC 8742) of byte strings, each the deterministic
 * encoding of one record; rows of tables with the names that they have in SQL, no database's own file. Written and read
 * as a stream: nothing but the record at hand is in memory.
 */
import { createHash, type Hash } from 'node:crypto';
import { concatBytes, equalBytes } from '../../crypto/bytes.js';
import { decodeStrict, encode, type CborItem } from '../../crypto/cbor.js';
import { MalformedError, SetupError } from '../../crypto/errors.js';
import { arrayOf, bytesOf, uintOf } from '../../crypto/fields.js';
import { limits } from '../../crypto/limits.js';

const archiveVersion = 1;
const magic = 'gridring-backup';

/** As SQL has them; there are no others. */
export type Cell = number | string | Uint8Array | null;
export type Row = readonly Cell[];

export type ArchiveRecord =
  | {
      readonly kind: 'header';
      readonly role: string;
      readonly suite: string;
      /** Unix seconds. */
      readonly createdS: number;
      /** Of the program that wrote it. */
      readonly software: string;
    }
  | { readonly kind: 'file'; readonly name: string; readonly content: Uint8Array }
  /** A database; `place` is its folder in what is restored, `schema` the number of migrations that made its tables. */
  | { readonly kind: 'store'; readonly place: string; readonly schema: number }
  | { readonly kind: 'table'; readonly name: string; readonly columns: readonly string[] }
  | { readonly kind: 'rows'; readonly rows: readonly Row[] }
  /** Of the table before it: how many rows, and the SHA-256 of its records of rows. */
  | { readonly kind: 'tableEnd'; readonly rows: number; readonly hash: Uint8Array }
  /** How many records there were before it, and the SHA-256 of all of them. */
  | { readonly kind: 'end'; readonly records: number; readonly hash: Uint8Array };

const kinds = ['header', 'file', 'store', 'table', 'rows', 'tableEnd', 'end'] as const;

export function encodeArchiveRecord(record: ArchiveRecord): Uint8Array {
  const number = kinds.indexOf(record.kind);
  switch (record.kind) {
    case 'header':
      return encode([number, magic, archiveVersion, record.role, record.suite, record.createdS, record.software]);
    case 'file':
      return encode([number, record.name, record.content]);
    case 'store':
      return encode([number, record.place, record.schema]);
    case 'table':
      return encode([number, record.name, record.columns]);
    case 'rows':
      return encode([number, record.rows]);
    case 'tableEnd':
    case 'end':
      return encode([number, record.kind === 'end' ? record.records : record.rows, record.hash]);
    default:
      return record satisfies never;
  }
}

/** @throws MalformedError `backup-malformed`; SetupError `backup-version` for the format of a newer program */
function decodeArchiveRecord(bytes: Uint8Array): ArchiveRecord {
  const what = 'record of a backup';
  const items = arrayOf(decodeStrict(bytes, limits.backupRecord), what);
  const [number, first, second, ...more] = items;
  const kind = kinds[uintOf(number, what)];
  switch (kind) {
    case 'header': {
      if (first !== magic) throw malformed('it does not begin as one');
      assertVersion(uintOf(second, what));
      const [role, suite, createdS, software] = more;
      return {
        kind,
        role: textOf(role, what),
        suite: textOf(suite, what),
        createdS: uintOf(createdS, what),
        software: textOf(software, what),
      };
    }
    case 'file':
      return { kind, name: textOf(first, what), content: bytesOf(second, what) };
    case 'store':
      return { kind, place: textOf(first, what), schema: uintOf(second, what) };
    case 'table':
      return { kind, name: textOf(first, what), columns: arrayOf(second, what).map((name) => textOf(name, what)) };
    case 'rows':
      return { kind, rows: arrayOf(first, what).map((row) => arrayOf(row, what).map(cellOf)) };
    case 'tableEnd':
      return { kind, rows: uintOf(first, what), hash: bytesOf(second, what, 32) };
    case 'end':
      return { kind, records: uintOf(first, what), hash: bytesOf(second, what, 32) };
    case undefined:
      throw malformed('it has a record of an unknown kind');
    default:
      return kind satisfies never;
  }
}

function textOf(item: CborItem | undefined, what: string): string {
  if (typeof item !== 'string') throw malformed(`${what}: not a text`);
  return item;
}

function cellOf(item: CborItem): Cell {
  if (item === null || typeof item === 'number' || typeof item === 'string' || item instanceof Uint8Array) return item;
  throw malformed('a row holds what is no value of SQL');
}

function assertVersion(version: number): void {
  if (version === archiveVersion) return;
  throw new SetupError(
    'backup-version',
    `the backup has format ${version}, known here is ${archiveVersion}: restore it with the version that made it, or a newer one`,
  );
}

export const malformed = (why: string): MalformedError => new MalformedError('backup-malformed', `no backup: ${why}`);

/** Rows are gathered until a record has about so much. */
const rowsBytes = 65_536;
/** Of plaintext that age seals at once. A whole file is filled up to it, so that a shorter one is known as cut. */
export const chunkBytes = 65_536;

/** Frames records, adds counts and hashes, and fills up the last chunk. */
export class ArchiveWriter {
  readonly #all = createHash('sha256');
  #records = 0;
  #bytes = 0;

  record(record: Exclude<ArchiveRecord, { readonly kind: 'rows' | 'tableEnd' | 'end' }>): Uint8Array {
    return this.#framed(encodeArchiveRecord(record));
  }

  /** A table with all of its rows, which are read as they are needed. */
  async *table(name: string, columns: readonly string[], rows: AsyncIterable<Row>): AsyncGenerator<Uint8Array> {
    yield this.record({ kind: 'table', name, columns });
    const hash = createHash('sha256');
    let count = 0;
    for await (const some of inRecords(rows)) {
      const encoded = encodeArchiveRecord({ kind: 'rows', rows: some });
      hash.update(encoded);
      count += some.length;
      yield this.#framed(encoded);
    }
    yield this.#framed(encodeArchiveRecord({ kind: 'tableEnd', rows: count, hash: digest(hash) }));
  }

  end(): Uint8Array {
    const end = framed(encodeArchiveRecord({ kind: 'end', records: this.#records, hash: digest(this.#all) }));
    const missing = chunkBytes - ((this.#bytes + end.length + 5) % chunkBytes);
    // At least one chunk, so that the head of the padding always has five bytes.
    return concatBytes(end, framed(new Uint8Array(missing + chunkBytes)));
  }

  #framed(encoded: Uint8Array): Uint8Array {
    this.#all.update(encoded);
    this.#records += 1;
    const bytes = framed(encoded);
    this.#bytes += bytes.length;
    return bytes;
  }
}

const framed = (content: Uint8Array): Uint8Array => encode(content);
const digest = (hash: Hash): Uint8Array => new Uint8Array(hash.digest());

async function* inRecords(rows: AsyncIterable<Row>): AsyncGenerator<readonly Row[]> {
  let [some, bytes]: [Row[], number] = [[], 0];
  for await (const row of rows) {
    some.push(row);
    for (const cell of row) bytes += cell === null || typeof cell === 'number' ? 9 : cell.length;
    if (bytes < rowsBytes) continue;
    yield some;
    [some, bytes] = [[], 0];
  }
  if (some.length > 0) yield some;
}

/**
 * The records of a plaintext, each checked against the counts and hashes that follow it; it has ended well only when all
 * of them were read.
 * @throws MalformedError `backup-malformed` and those of the CBOR gate; SetupError `backup-version`
 */
export async function* readArchive(plaintext: AsyncIterable<Uint8Array>): AsyncGenerator<ArchiveRecord> {
  const all = createHash('sha256');
  let table: { readonly hash: Hash; rows: number } | undefined;
  let [records, ended] = [0, false];
  for await (const encoded of frames(plaintext)) {
    // After the end there is padding only.
    if (ended) continue;
    const record = decodeArchiveRecord(encoded);
    if ((records === 0) !== (record.kind === 'header')) throw malformed('it does not begin as one');
    if (record.kind === 'end') assertTold(record.records === records && equalBytes(record.hash, digest(all)));
    if (record.kind === 'table') table = { hash: createHash('sha256'), rows: 0 };
    if (record.kind === 'rows') {
      if (!table) throw malformed('it has rows of no table');
      table.hash.update(encoded);
      table.rows += record.rows.length;
    }
    if (record.kind === 'tableEnd') {
      assertTold(table?.rows === record.rows && equalBytes(record.hash, digest(table.hash)));
      table = undefined;
    }
    ended = record.kind === 'end';
    if (!ended) all.update(encoded);
    records += 1;
    yield record;
  }
  if (!ended) throw malformed('its end is missing');
}

function assertTold(isAsTold: boolean): void {
  if (!isAsTold) throw malformed('a count or hash in it is not that of what it holds');
}

/** The contents of byte strings that follow one another. */
async function* frames(plaintext: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let rest: Uint8Array = new Uint8Array(0);
  for await (const chunk of plaintext) {
    rest = rest.length === 0 ? chunk : concatBytes(rest, chunk);
    for (let frame = firstFrame(rest); frame; frame = firstFrame(rest)) {
      yield frame.content;
      rest = rest.subarray(frame.bytes);
    }
  }
  if (rest.length > 0) throw malformed('its last record is not whole');
}

function firstFrame(bytes: Uint8Array): { readonly content: Uint8Array; readonly bytes: number } | undefined {
  const [head] = bytes;
  if (head === undefined) return undefined;
  if (head < 0x40 || head > 0x5a) throw malformed('it is no sequence of byte strings');
  const lengthBytes = head < 0x58 ? 0 : 2 ** (head - 0x58);
  if (bytes.length < 1 + lengthBytes) return undefined;
  let length = lengthBytes === 0 ? head - 0x40 : 0;
  for (const byte of bytes.subarray(1, 1 + lengthBytes)) length = length * 256 + byte;
  if (length > limits.backupRecord) throw malformed('a record is too large');
  const end = 1 + lengthBytes + length;
  return bytes.length < end ? undefined : { content: bytes.subarray(1 + lengthBytes, end), bytes: end };
}
