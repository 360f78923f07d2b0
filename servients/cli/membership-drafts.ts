/** Drafts of the next membership list that need certificate files: who is added, and what a gateway may add. */
import { compareBytes, toHex } from '../../crypto/bytes.js';
import { verifyChain, type Certificate } from '../../crypto/certificate.js';
import { GridringError, SetupError } from '../../crypto/errors.js';
import { certificateOf, findEntry, type AuthorityList } from '../../crypto/membership.js';
import { readCertificates } from '../identity-files.js';
import type { NameOf } from '../membership/changes.js';
import { addEntry, certHashBy, listRoleOf, type Edit } from '../membership/edits.js';
import type { NextList, OpenList } from '../membership/list-file.js';
import { systemNowS } from '../runtime.js';

const dayS = 86_400;
export const rolesOfEntries = ['member', 'reader', 'operator', 'coordinator'] as const;

export interface AddOptions {
  readonly role?: (typeof rolesOfEntries)[number];
  readonly hpkeKey?: Uint8Array;
  readonly reads?: string;
}

export interface DelegateOptions {
  readonly gateway: string;
  readonly days?: number;
  readonly until?: number;
  readonly allowRemovals?: true;
  readonly add?: readonly string[];
}

export interface Names {
  readonly id: NameOf;
  readonly urn: NameOf;
}

/** Of everybody whose certificate is at hand; else the beginning of the hash. */
export function namesOf(certificates: readonly Certificate[]): Names {
  const leaves = new Map(
    certificates.flatMap((certificate) =>
      certificate.role === 'ca' ? [] : [[toHex(certificate.certHash), certificate] as const],
    ),
  );
  const unknown = (certHash: Uint8Array): string => toHex(certHash.subarray(0, 8));
  return {
    id: (certHash) => leaves.get(toHex(certHash))?.id ?? unknown(certHash),
    urn: (certHash) => {
      const leaf = leaves.get(toHex(certHash));
      return leaf ? `urn:gridring:${leaf.role}:${leaf.id}` : unknown(certHash);
    },
  };
}

export type Draft = Edit &
  Pick<NextList, 'delegation' | 'anchors'> & { readonly certificates?: readonly Certificate[] };

/** What nobody would accept is the fault of what was asked for. */
export function withAdvice<T>(work: () => T): T {
  try {
    return work();
  } catch (cause) {
    if (!(cause instanceof GridringError)) throw cause;
    throw new SetupError(cause.code, `no member would take that list: ${cause.message}`, cause);
  }
}

/** A certificate file's leaf, verified up to the root, and all that is in the file. */
function readHolder(
  { suite, trustedRoots }: OpenList,
  file: string,
): { readonly leaf: ReturnType<typeof verifyChain>; readonly all: readonly Certificate[] } {
  const all = readCertificates(suite, file, 'certificate');
  const [first, ...above] = all;
  if (!first) throw new SetupError('certificate-unusable', `${file} holds no certificate`);
  return { leaf: withAdvice(() => verifyChain(suite, first, above, trustedRoots, systemNowS())), all };
}

export function add(current: OpenList, file: string, { role, hpkeKey, reads }: AddOptions): Draft {
  const { leaf, all } = readHolder(current, file);
  const its = listRoleOf(leaf);
  if (role !== undefined && role !== its) {
    throw new SetupError(
      'certificate-role',
      `${file} is certified as ${leaf.role}, which makes it a ${its}, not a ${role}`,
    );
  }
  if ((its === 'reader') !== (reads !== undefined) || (its === 'reader' && hpkeKey === undefined)) {
    throw new SetupError(
      'reader-incomplete',
      'a reader, and nobody else, needs --reads and --hpke-key: meters grant their keys to that one',
    );
  }
  const { list } = current;
  const names = namesOf([...current.certificates, ...all]);
  const meters =
    reads === undefined ? undefined : reads === 'all' ? null : reads.split(',').map((id) => meterBy(list, id, names));
  return {
    ...addEntry(list, { certificate: leaf, hpkeKey: hpkeKey ?? null, reads: meters }, names.id),
    certificates: all,
  };
}

function meterBy(list: AuthorityList, id: string, names: Names): Uint8Array {
  const certHash = certHashBy(list, id, names.urn);
  if (findEntry(list, certHash, 'member')) return certHash;
  throw new SetupError('entry-unknown', `${id} is no member of the group`);
}

export function delegate(current: OpenList, names: Names, options: DelegateOptions): Draft {
  const { membership, list } = current;
  const nowS = systemNowS();
  const notAfterS = options.until ?? (options.days === undefined ? undefined : nowS + options.days * dayS);
  if (notAfterS === undefined || notAfterS <= nowS)
    throw new SetupError('delegation-time', 'say how long, with --days or --until');
  const gateway = certHashBy(list, options.gateway, names.urn);
  withAdvice(() => certificateOf(membership, gateway, 'coordinator', nowS));
  const holders = (options.add ?? []).map((file) => readHolder(current, file));
  for (const { leaf } of holders) {
    if (listRoleOf(leaf) !== 'member')
      throw new SetupError('certificate-role', `${leaf.id} is no meter; a gateway adds meters only`);
    if (findEntry(list, leaf.certHash, 'member'))
      throw new SetupError('already-listed', `${leaf.id} is in the list already`);
  }
  const mayRemove = options.allowRemovals ?? false;
  if (!mayRemove && holders.length === 0) {
    throw new SetupError('nothing-changes', 'say what it may do, with --allow-removals or --add');
  }
  const additions = holders.map(({ leaf }) => leaf.certHash).sort(compareBytes);
  return {
    list,
    warnings: [],
    certificates: holders.flatMap(({ all }) => all),
    delegation: { gateway, notAfterS, mayRemove, additions },
  };
}
