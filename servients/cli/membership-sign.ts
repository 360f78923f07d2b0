/** How a membership list gets from the authority's key into its file, and from there to a backend and back. */
import { basename, join } from 'node:path';
import { toHex } from '../../crypto/bytes.js';
import { ConflictError, NotFoundError, SetupError } from '../../crypto/errors.js';
import {
  compareLists,
  encodeMembershipList,
  parseMembershipList,
  type AuthorityList,
  type Membership,
} from '../../crypto/membership.js';
import type { Suite } from '../../crypto/suite.js';
import { BackendClient } from '../backend-client.js';
import { makeFetch, type Fetch } from '../bindings/tls-fetch.js';
import { readIdentity } from '../identity-files.js';
import { fetchAs } from '../issuer-client.js';
import { changesBetween, delegationLines, isoTime } from '../membership/changes.js';
import { openList, readListFile, replaceListFile, signNextList, type OpenList } from '../membership/list-file.js';
import { writeSigningRequest, type SigningRequest } from '../membership/signing-request.js';
import { systemNowS } from '../runtime.js';
import { namesOf, withAdvice, type Draft, type Names } from './membership-drafts.js';
import { membershipJson } from './membership-text.js';
import { printJson, printLine } from './output.js';

const dayS = 86_400;

export interface FileOptions {
  readonly file: string;
  readonly root: string;
  readonly json?: true;
}

export interface SignOptions extends FileOptions {
  readonly authority: string;
  readonly url?: string;
  readonly dryRun?: true;
  /** Where a request to sign goes, instead of signing. */
  readonly export?: string;
}

export interface RemoteOptions {
  readonly url?: string;
  readonly audience?: string;
  readonly authority: string;
}

export const openFile = ({ file, root }: FileOptions): OpenList => readListFile(file, root, systemNowS());

/**
 * One list for the next: edit, sign, verify, keep, publish, in this order, so that nothing is out that is not kept. Or
 * instead of signing, a request is written for the machine that has the key.
 * @returns the list that is in force now; undefined where none was signed
 */
export async function sign(
  options: SignOptions,
  edit: (current: OpenList, names: Names) => Draft,
): Promise<OpenList | undefined> {
  const current = openFile(options);
  const { list, ...draft } = edit(current, namesOf(current.certificates));
  const next: AuthorityList = { ...list, version: current.list.version + 1 };
  withAdvice(() => parseMembershipList(encodeMembershipList(next)));
  const certificates = [...current.certificates, ...(draft.certificates ?? [])];
  const request = { ...current, base: current, list: next, certificates, delegation: draft.delegation };
  const result = {
    ...{ gid: toHex(next.gid), version: next.version, changes: changesOf(request) },
    warnings: [...draft.warnings, ...standingWarnings(current.membership, next)],
  };
  if (options.dryRun || options.export !== undefined) {
    if (!options.dryRun && options.export !== undefined) writeSigningRequest(options.export, request);
    report(options, { ...result, ...(options.dryRun ? { dryRun: true } : { request: options.export }) });
    return undefined;
  }
  const signed = withAdvice(() =>
    signNextList(
      current.suite,
      current.trustedRoots,
      openAuthority(current.suite, options.authority),
      { list: next, certificates, delegation: draft.delegation, anchors: draft.anchors ?? current.anchors },
      systemNowS(),
    ),
  );
  const kept = replaceListFile(options.file, current, signed);
  report(options, { ...result, listHash: toHex(signed.membership.listHash), file: options.file, kept });
  const inForce = { ...current, ...signed, list: next, certificates };
  if (options.url !== undefined) await publish(inForce, options.url, options.json);
  return inForce;
}

/** The key that no server has. @throws SetupError `certificate-role`, and as `readIdentity` */
export function openAuthority(suite: Suite, folder: string): ReturnType<typeof readIdentity> {
  const authority = readIdentity(suite, { certificate: join(folder, 'certificate.pem'), key: join(folder, 'key.pem') });
  if (authority.leaf.role === 'authority') return authority;
  throw new SetupError('certificate-role', `${folder} is certified as ${authority.leaf.role}, not as authority`);
}

/** In words, all that a request would have signed. */
export function changesOf({ base, list, certificates, delegation }: SigningRequest): readonly string[] {
  const names = namesOf(certificates);
  return [...changesBetween(base?.list, list, names.id), ...(delegation ? delegationLines(delegation, names.id) : [])];
}

export function standingWarnings({ list, delegation }: Membership, next: AuthorityList): readonly string[] {
  const nowS = systemNowS();
  return [
    ...(list.revision > 0 ? ['what the gateway changed under its delegation is part of this list'] : []),
    ...(delegation && delegation.notAfterS > nowS ? ['the delegation of the list before ends with this one'] : []),
    ...(next.notAfterS - nowS < 30 * dayS
      ? [`the list is valid until ${isoTime(next.notAfterS)} only; "gridring membership renew" gives it a new end`]
      : []),
  ];
}

interface Result {
  readonly gid: string;
  readonly version: number;
  readonly changes: readonly string[];
  readonly warnings: readonly string[];
  readonly dryRun?: true;
  readonly listHash?: string;
  readonly file?: string;
  readonly kept?: string;
  readonly request?: string | undefined;
}

export function report({ json }: Pick<FileOptions, 'json'>, result: Result): void {
  if (json) {
    printJson({ event: 'membership', ...result });
    return;
  }
  const { gid, version, changes, warnings, file, kept, request } = result;
  const signed = file === undefined ? 'would be' : 'is';
  printLine(`list ${version} of group ${gid} ${signed} signed:`);
  for (const change of changes) printLine(`  ${change}`);
  for (const warning of warnings) printLine(`note: ${warning}`);
  if (file !== undefined && kept !== undefined) printLine(`written to ${file}; the one before is ${basename(kept)}`);
  if (request !== undefined) printLine(`written to ${request}: "gridring membership sign" signs it where the key is`);
}

export async function publish(list: OpenList, url: string, json: true | undefined): Promise<void> {
  const { suite, trustedRoots, bundle, membership } = list;
  const send = makeFetch({ roots: trustedRoots.map(({ der }) => der) });
  await new BackendClient({ suite, trustedRoots, url, fetch: send }).publishMembership(bundle);
  const { version, gid } = membership.list;
  if (json) printJson({ event: 'membership-published', gid: toHex(gid), version, url });
  else printLine(`published to ${url}: gateways take it from there, and members from their gateway`);
}

export async function fetchIntoFile(options: FileOptions & RemoteOptions): Promise<void> {
  const [current, newest] = [openFile(options), await fetchList(options)];
  const { list } = newest.membership;
  if (toHex(newest.membership.listHash) === toHex(current.membership.listHash)) {
    report(options, {
      gid: toHex(list.gid),
      version: list.version,
      changes: [],
      warnings: ['the file has the newest list already'],
    });
    return;
  }
  if (compareLists(list, current.membership.list) < 0) {
    throw new ConflictError('membership-rollback', 'the backend has an older list than the file: publish that one');
  }
  const kept = replaceListFile(options.file, current, newest);
  if (options.json)
    printJson({ event: 'membership-fetched', ...membershipJson(newest.membership), file: options.file, kept });
  else
    printLine(`list ${list.version}.${list.revision} written to ${options.file}; the one before is ${basename(kept)}`);
}

/** Requests to a backend with the certificate of the authority in the folder. */
export function authorityFetch(
  { suite, trustedRoots }: Pick<OpenList, 'suite' | 'trustedRoots'>,
  folder: string,
  audience: string,
): Fetch {
  const files = { certificate: join(folder, 'certificate.pem'), key: join(folder, 'key.pem') };
  const { leaf: certificate, certificates, secret } = readIdentity(suite, files);
  const roots = trustedRoots.map(({ der }) => der);
  return fetchAs({ suite, certificate, certificates, secret }, audience, roots, systemNowS);
}

/** The newest list of the file's group that the backend has. */
export async function fetchList(options: FileOptions & RemoteOptions): Promise<OpenList> {
  const { suite, trustedRoots, membership } = openFile(options);
  const { url, audience } = options;
  if (url === undefined || audience === undefined) {
    throw new SetupError(
      'audience-missing',
      'a backend is asked with --url and --audience; its configuration names the audience',
    );
  }
  const send = authorityFetch({ suite, trustedRoots }, options.authority, audience);
  const backend = new BackendClient({ suite, trustedRoots, url, fetch: send });
  const bundle = await backend.membership(membership.list.gid);
  if (!bundle) throw new NotFoundError('group-unknown', 'the backend has no list of that group');
  return openList(bundle, options.root, systemNowS());
}
