/**
 * What the authority is asked to sign, as a file that is carried to the machine that has the key. It holds the list in
 * force, the next one, and the certificates; no words, for whoever signs makes these from the lists.
 */
import { join } from 'node:path';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { Ajv } from 'ajv';
import { equalBytes, fromBase64Url, fromHex, toBase64Url, toHex } from '../../crypto/bytes.js';
import { parseCertificate, type Certificate } from '../../crypto/certificate.js';
import { parseSign1 } from '../../crypto/cose.js';
import { GridringError, SetupError } from '../../crypto/errors.js';
import { limits } from '../../crypto/limits.js';
import {
  assertSucceeds,
  encodeMembershipList,
  parseMembershipBundle,
  parseMembershipList,
  verifyMembership,
} from '../../crypto/membership.js';
import type { Suite } from '../../crypto/suite.js';
import { suiteById } from '../../crypto/suite-node.js';
import type { Identity } from '../../things/parts.js';
import { writeDurably } from '../durable-file.js';
import { readCertificates, readText, writePublic } from '../identity-files.js';
import { openList, signNextList, type NextList, type OpenList, type SignedList } from './list-file.js';

const format = 'gridring-signing-request/1';

interface RequestFile {
  readonly format: typeof format;
  /** The bundle in force; null for the first list of a group. */
  readonly base: string | null;
  /** Payload of the list that is to be signed. */
  readonly list: string;
  readonly delegation: {
    readonly gateway: string;
    readonly notAfterS: number;
    readonly mayRemove: boolean;
    readonly additions: readonly string[];
  } | null;
  readonly certificates: readonly string[];
}

const bytes = { type: 'string', pattern: '^[\\w-]+$', maxLength: 2 * limits.membership } as const;
const certHash = { type: 'string', pattern: '^[0-9a-f]{64}$' } as const;
const schema = {
  type: 'object',
  properties: {
    format: { const: format },
    base: { ...bytes, type: ['string', 'null'] },
    list: bytes,
    delegation: {
      type: ['object', 'null'],
      properties: {
        gateway: certHash,
        notAfterS: { type: 'integer', minimum: 0, maximum: 0xffff_ffff },
        mayRemove: { type: 'boolean' },
        additions: { type: 'array', items: certHash, maxItems: limits.membershipEntries },
      },
      required: ['gateway', 'notAfterS', 'mayRemove', 'additions'],
      additionalProperties: false,
    },
    certificates: { type: 'array', items: bytes, maxItems: 2 * limits.membershipEntries },
  },
  required: ['format', 'base', 'list', 'delegation', 'certificates'],
  additionalProperties: false,
} as const;
/** Base64url of two bundles of the largest size, and the certificates beside them. */
const maxFileLength = 4 * limits.membership;

export interface SigningRequest extends Omit<NextList, 'anchors'> {
  readonly suite: Suite;
  readonly trustedRoots: readonly Certificate[];
  /** Undefined for the first list of a group. */
  readonly base: OpenList | undefined;
}

export function writeSigningRequest(path: string, { base, list, delegation, certificates }: SigningRequest): void {
  const file: RequestFile = {
    format,
    base: base ? toBase64Url(base.bundle) : null,
    list: toBase64Url(encodeMembershipList(list)),
    delegation: delegation
      ? { ...delegation, gateway: toHex(delegation.gateway), additions: delegation.additions.map(toHex) }
      : null,
    certificates: certificates.map(({ der }) => toBase64Url(der)),
  };
  writePublic(path, `${JSON.stringify(file)}\n`);
}

/**
 * A request, checked as far as it can be without the key: the list in force verifies up to the root, and the next one
 * follows it.
 * @throws SetupError `file-unreadable`, `request-unusable`
 */
export function readSigningRequest(path: string, rootFile: string, nowS: number): SigningRequest {
  const file = parseFile(path);
  try {
    const base = file.base === null ? undefined : openList(fromBase64Url(file.base), rootFile, nowS);
    const list = parseMembershipList(fromBase64Url(file.list));
    if (list.version !== (base?.list.version ?? 0) + 1)
      throw unusable(path, 'its list does not follow the one in force');
    if (base && !equalBytes(base.list.gid, list.gid)) throw unusable(path, 'its two lists are of different groups');
    if (base) assertSucceeds(list, base.list);
    const suite = suiteById(list.policy.suite);
    const { delegation } = file;
    return {
      suite,
      trustedRoots: base?.trustedRoots ?? readCertificates(suite, rootFile, 'root certificate'),
      base,
      list,
      certificates: file.certificates.map((der) => parseCertificate(suite, fromBase64Url(der))),
      delegation: delegation
        ? { ...delegation, gateway: fromHex(delegation.gateway), additions: delegation.additions.map(fromHex) }
        : undefined,
    };
  } catch (cause) {
    if (cause instanceof SetupError) throw cause;
    if (cause instanceof GridringError || cause instanceof TypeError) throw unusable(path, cause.message, cause);
    throw cause;
  }
}

function parseFile(path: string): RequestFile {
  const text = readText(path, 'request to sign');
  if (text.length > maxFileLength) throw unusable(path, 'it is too large');
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch (cause) {
    throw unusable(path, 'it is not JSON', cause);
  }
  const isRequest = new Ajv({ allowUnionTypes: true }).compile<RequestFile>(schema);
  if (isRequest(file)) return file;
  const [fault] = isRequest.errors ?? [];
  throw unusable(path, `${fault?.instancePath || 'the file'} ${fault?.message ?? 'is not of its form'}`);
}

const unusable = (path: string, why: string, cause?: unknown): SetupError =>
  new SetupError('request-unusable', `${path} is no request that can be signed: ${why}`, cause);

/**
 * Signs a request. What was signed is kept beside the key before anybody gets it: nobody is given a second list of the
 * same version, and the same request again gets the same list.
 * @throws SetupError `base-moved`; and as `signNextList`
 */
export function signRequest(
  folder: string,
  authority: Identity,
  { suite, trustedRoots, ...next }: SigningRequest,
  nowS: number,
): SignedList {
  const gid = toHex(next.list.gid);
  const kept = (version: number): string => join(folder, 'signed', `${gid}-v${version}.cbor`);
  const { version } = next.list;
  const known = existsSync(kept(version)) ? new Uint8Array(readFileSync(kept(version))) : undefined;
  const isTheSame = known && equalBytes(payloadOf(known), encodeMembershipList(next.list));
  if (existsSync(kept(version + 1)) || (known && !isTheSame)) {
    const advice = 'take it over first ("gridring membership publish --signed"), and prepare the change anew';
    throw new SetupError(
      'base-moved',
      `list ${version} of the group was signed here already, ${kept(version)}: ${advice}`,
    );
  }
  if (known) return { bundle: known, membership: verifyMembership({ suite, trustedRoots, nowS }, known) };
  const signed = signNextList(suite, trustedRoots, authority, { ...next, anchors: next.base?.anchors ?? [] }, nowS);
  mkdirSync(join(folder, 'signed'), { recursive: true, mode: 0o700 });
  writeDurably(kept(version), signed.bundle, 0o644);
  return signed;
}

const payloadOf = (bundle: Uint8Array): Uint8Array =>
  parseSign1(parseMembershipBundle(bundle).listMessage, limits.membership).payload;
