/** The rows of a list of devices (docs/enrolment.md): each is one that can be taken, or is refused with its line. */
import { fromBase64Url, fromHex, toHex } from '../../crypto/bytes.js';
import { verifyRequest } from '../../crypto/certificate/request.js';
import { GridringError, LimitError, SetupError } from '../../crypto/errors.js';
import { limits } from '../../crypto/limits.js';
import type { Suite } from '../../crypto/suite.js';
import { readCsv, type CsvLine } from '../csv.js';

export interface DeviceRow {
  readonly line: number;
  readonly id: string;
  /** Of which the maker has told, or the device itself by a request; undefined: it is to be invited. */
  readonly publicKey?: Uint8Array;
  /** The gateway's Thing Description. */
  readonly gateway?: string;
  /** In hex; where there is one, the meter is to be taken into its list. */
  readonly group?: string;
  /** For people, on the label. */
  readonly name?: string;
}

export interface RefusedRow {
  readonly line: number;
  readonly id: string;
  readonly code: string;
  readonly why: string;
}

export interface DeviceRows {
  readonly rows: readonly DeviceRow[];
  readonly refused: readonly RefusedRow[];
}

const known = ['id', 'gateway', 'public_key', 'csr', 'group', 'name'] as const;
type Column = (typeof known)[number];

/**
 * Reads a list whose signature has verified.
 * @throws SetupError `device-columns`; LimitError `device-list-too-large`
 */
export function readDeviceRows(suite: Suite, file: Uint8Array): DeviceRows {
  const { columns, lines } = readCsv(new TextDecoder().decode(file));
  const strange = columns.filter((column) => !known.includes(column as Column));
  if (!columns.includes('id') || strange.length > 0 || new Set(columns).size < columns.length) {
    throw new SetupError('device-columns', `the first line names the columns: id, and of ${known.slice(1).join(', ')}`);
  }
  if (lines.length > limits.deviceRows) {
    throw new LimitError('device-list-too-large', `a device list has at most ${limits.deviceRows} rows`);
  }
  const [rows, refused]: [DeviceRow[], RefusedRow[]] = [[], []];
  const taken = new Map<string, number>();
  for (const line of lines) {
    if (line.text === '') continue;
    try {
      rows.push(once(rowOf(suite, columns, line), taken));
    } catch (error) {
      if (!(error instanceof GridringError)) throw error;
      const id = line.fields[columns.indexOf('id')] ?? '';
      refused.push({ line: line.number, id: id.slice(0, 64), code: error.code, why: error.message });
    }
  }
  return { rows, refused };
}

function rowOf(suite: Suite, columns: readonly string[], { number: line, text, fields }: CsvLine): DeviceRow {
  if (text.length > limits.deviceLine) throw unfit(`a line has at most ${limits.deviceLine} characters`);
  // A file of a spreadsheet whose values hold commas would be read as something else.
  if (text.includes('"')) throw unfit('quotes are not understood: no value may have a comma in it');
  if (fields.length !== columns.length) throw unfit(`${fields.length} values under ${columns.length} columns`);
  const valueOf = (column: Column): string => fields[columns.indexOf(column)]?.trim() ?? '';
  const [id, gateway, group, name] = [valueOf('id'), valueOf('gateway'), valueOf('group'), valueOf('name')];
  if (!/^[a-z0-9-]{1,64}$/.test(id)) throw unfit('id is not of 1 to 64 of a-z, 0-9 and hyphen');
  if (gateway !== '' && !/^https?:\/\/[^\s]{1,480}$/.test(gateway)) throw unfit('gateway is no http(s) address');
  if (group !== '' && !/^[0-9a-f]{32}$/.test(group)) throw unfit('group is not of 32 hex digits');
  if (name.length > 80 || /\p{C}/u.test(name)) throw unfit('name is longer than 80 characters, or cannot be printed');
  const publicKey = keyOf(suite, id, valueOf('public_key'), valueOf('csr'));
  return {
    ...{ line, id },
    ...(publicKey && { publicKey }),
    ...(gateway !== '' && { gateway }),
    ...(group !== '' && { group }),
    ...(name !== '' && { name }),
  };
}

function keyOf(suite: Suite, id: string, publicKey: string, csr: string): Uint8Array | undefined {
  if (publicKey !== '' && csr !== '') throw unfit('either public_key or csr, not both');
  if (publicKey !== '') {
    if (!/^(?:[0-9a-f]{2}){32,65}$/.test(publicKey)) throw unfit('public_key is not hex of a key of the suite');
    return suite.verifier(fromHex(publicKey)).publicKey;
  }
  if (csr === '') return undefined;
  const request = verifyRequest(suite, bytesOfBase64(csr));
  if (request.role === 'meter' && request.id === id) return request.publicKey;
  throw unfit(`csr is for urn:gridring:${request.role}:${request.id}`);
}

/** Of either alphabet, with or without padding. */
function bytesOfBase64(text: string): Uint8Array {
  try {
    return fromBase64Url(text.replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, ''));
  } catch {
    throw unfit('csr is not base64 of a PKCS #10 request in DER');
  }
}

/** @throws SetupError `device-twice` for an id or a key that another line has */
function once(row: DeviceRow, taken: Map<string, number>): DeviceRow {
  const names = [`id ${row.id}`, ...(row.publicKey ? [`key ${toHex(row.publicKey)}`] : [])];
  for (const name of names) {
    const before = taken.get(name);
    if (before !== undefined)
      throw new SetupError('device-twice', `line ${before} has the same ${name.slice(0, 3).trim()}`);
  }
  for (const name of names) taken.set(name, row.line);
  return row;
}

const unfit = (why: string): SetupError => new SetupError('device-row', why);
