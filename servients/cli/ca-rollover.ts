/** `gridring ca rollover plan|apply|finish`: from one root to the next, without anybody walking to a device. */
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { equalBytes, fromBase64Url, toBase64Url, toHex } from '../../crypto/bytes.js';
import { toPem } from '../../crypto/certificate/pem.js';
import { parseCertificate, type Certificate, type LeafCertificate } from '../../crypto/certificate.js';
import { GridringError, SetupError } from '../../crypto/errors.js';
import type { AuthorityList } from '../../crypto/membership.js';
import { caFiles, initCa, openCa, type CertificateAuthority } from '../ca.js';
import { backendOf } from '../chain-client.js';
import { writeDurably } from '../durable-file.js';
import { readIdentity } from '../identity-files.js';
import { Community, membersOf } from '../lifecycle/community.js';
import { hangsOn, holdersIn, recertify, shownBackend, stateTrust, urnOf } from '../lifecycle/rollover.js';
import { replaceEntry } from '../membership/edits.js';
import type { OpenList } from '../membership/list-file.js';
import { changeReaderFile, readReaderFile } from '../reader-file.js';
import { systemNowS } from '../runtime.js';
import { writeTrust } from '../trust-files.js';
import { callerKeys, usualFile } from './caller.js';
import { managerOf } from './enrol-manage.js';
import { openAuthority, openFile } from './membership-sign.js';
import { printJson, printLine } from './output.js';
import { signAndPublish, waitFor, type PublishingOptions } from './publishing.js';

export interface RolloverOptions extends PublishingOptions {
  /** Folder of the CA in use. */
  readonly ca: string;
  /** Folder of the next one. */
  readonly next: string;
  readonly name: string;
  readonly days: number;
  /** Further key files of readers and operators that are here. */
  readonly keys: readonly string[];
}

/** All that a step looks at. */
interface Rollover {
  readonly next: CertificateAuthority;
  readonly current: OpenList;
}

/** Makes the next CA, and says who hangs on the one in use. */
export async function plan(options: RolloverOptions): Promise<void> {
  const { ca, next, name, dryRun, json } = options;
  const current = openFile(options);
  const isNew = !existsSync(caFiles(next).root);
  if (isNew && !dryRun) initCa(current.suite, next, { name, nowS: systemNowS(), random: randomBytes });
  const { authority, backend } = await servers(current, options);
  const holders = [...holdersIn(current), authority[0], backend[0]].flatMap((leaf) => leaf ?? []);
  const roots = current.trustedRoots.map(({ certHash }) => toHex(certHash));
  if (json) {
    printJson({ event: 'rollover-planned', roots, next, ...(dryRun && { dryRun }), holders: holders.map(urnOf) });
    return;
  }
  const names = roots.map((root) => `${root.slice(0, 16)}…`).join(', ');
  printLine(`under the root ${names} of ${ca}, and to be certified anew:`);
  for (const holder of holders)
    printLine(`  ${urnOf(holder)}, until ${new Date(holder.notAfterS * 1_000).toISOString()}`);
  if (isNew) printLine(`the next CA ${dryRun ? 'would be' : 'is'} made in ${next}; keep its root.key.pem offline`);
  printLine('go on with "gridring ca rollover apply"; nothing has changed for anybody yet');
}

/**
 * Has everybody trust both roots, and certifies all keys under the new one. Cut off, it goes on where it was; run again it
 * shows what is left.
 */
export async function apply(options: RolloverOptions): Promise<void> {
  const rollover = open(options);
  const { current, next } = rollover;
  const both = [...othersThan(next.root, current.trustedRoots), next.root];
  const statement = trusts(current, both)
    ? undefined
    : stateTrust(current.suite, options.ca, current.trustedRoots, both);
  const due = holdersIn(current).filter((leaf) => !isUnder(rollover, leaf, current.certificates));
  if (options.dryRun) {
    report(
      options,
      'rollover-planned',
      due.map((leaf) => `${urnOf(leaf)} would get a certificate under the new root`),
    );
    return;
  }
  renewAuthority(rollover, options);
  if (statement || due.length > 0) await certifyAll(rollover, due, statement, options);
  writeTrust(current.suite, options.root, both);
  const renewed = open(options);
  for (const file of keyFilesOf(options)) renewKeyFile(renewed, file, both);
  await renewBackend(renewed, options);
  report(options, 'rollover-applied', await left(renewed, options));
}

/** Has everybody trust the new root alone. @throws SetupError `rollover-unfinished` while somebody hangs on the old one */
export async function finish(options: RolloverOptions): Promise<void> {
  const rollover = open(options);
  const { current, next } = rollover;
  if (!trusts(current, [next.root])) {
    const unfinished = await left(rollover, options);
    if (unfinished.length > 0) {
      for (const line of unfinished) if (!options.json) printLine(line);
      const advice = '"gridring ca rollover apply" certifies them; who is gone for good is to be removed';
      const names = unfinished.join('; ');
      throw new SetupError('rollover-unfinished', `the old root is still needed: ${names}. ${advice}`);
    }
    if (options.dryRun) {
      report(options, 'rollover-finished', []);
      return;
    }
    const statement = stateTrust(current.suite, options.next, current.trustedRoots, [next.root]);
    await signAndPublish(options, ({ list, anchors }) => ({ list, warnings: [], anchors: [...anchors, statement] }));
  }
  writeTrust(current.suite, options.root, [next.root]);
  for (const file of keyFilesOf(options)) changeReaderFile(file, { roots: [next.root] });
  report(options, 'rollover-finished', []);
  if (!options.json)
    printLine(`from now on certificates come from --ca ${options.next}; destroy the keys in ${options.ca}`);
}

/** That are here, and change with the rest. */
const keyFilesOf = ({ reader, keys }: RolloverOptions): readonly string[] => [
  ...(reader !== undefined ? [reader] : existsSync(usualFile) ? [usualFile] : []),
  ...keys,
];

/** @throws SetupError `rollover-unplanned` */
function open(options: RolloverOptions): Rollover {
  const current = openFile(options);
  if (!existsSync(caFiles(options.next).root)) {
    throw new SetupError('rollover-unplanned', `${options.next} holds no CA: "gridring ca rollover plan" makes it`);
  }
  return { current, next: openCa(current.suite, options.next) };
}

const othersThan = (root: Certificate, roots: readonly Certificate[]): readonly Certificate[] =>
  roots.filter(({ certHash }) => !equalBytes(certHash, root.certHash));

const trusts = ({ trustedRoots }: OpenList, roots: readonly Certificate[]): boolean =>
  trustedRoots.length === roots.length &&
  roots.every(({ certHash }) => trustedRoots.some((root) => equalBytes(root.certHash, certHash)));

const isUnder = ({ current, next }: Rollover, leaf: Certificate, above: readonly Certificate[]): boolean =>
  hangsOn(current.suite, next.root, leaf, above, systemNowS());

/** The same key, so that nobody notices but by the certificate. */
function renewAuthority(rollover: Rollover, options: RolloverOptions): void {
  const { leaf, certificates } = openAuthority(rollover.current.suite, options.authority);
  const above = certificates.map((der) => parseCertificate(rollover.current.suite, der));
  if (isUnder(rollover, leaf, above)) return;
  const chain = recertify(rollover.next, leaf, { days: options.days, nowS: systemNowS() });
  writeDurably(join(options.authority, 'certificate.pem'), chain.map(toPem).join(''), 0o644);
}

async function certifyAll(
  { current, next }: Rollover,
  due: readonly LeafCertificate[],
  statement: Uint8Array | undefined,
  options: RolloverOptions,
): Promise<void> {
  const { suite } = current;
  const chains = due.map((leaf) => {
    const chain = recertify(next, leaf, { days: options.days, nowS: systemNowS() });
    return { leaf, chain: chain.map((der) => parseCertificate(suite, der)) };
  });
  await signAndPublish(options, ({ list, anchors }) => ({
    list: chains.reduce<AuthorityList>((before, { leaf, chain: [renewed] }) => {
      return renewed && renewed.role !== 'ca' ? replaceEntry(before, leaf, renewed).list : before;
    }, list),
    warnings: [],
    certificates: chains.flatMap(({ chain }) => chain),
    anchors: statement ? [...anchors, statement] : anchors,
  }));
}

/** A key file gets the certificate that the list has for its key, and trusts both roots. */
function renewKeyFile({ current }: Rollover, file: string, roots: readonly Certificate[]): void {
  const { certificate } = readReaderFile(file);
  const { membership } = current;
  const renewed = membership.certificates.find(
    (listed) => listed?.role === certificate.role && listed.id === certificate.id && isSameKey(listed, certificate),
  );
  const chain = renewed && [renewed, ...current.certificates.filter(({ role }) => role === 'ca')];
  const issuers = chain?.filter((each, i) => i === 0 || isIssuer(each, renewed));
  changeReaderFile(file, { roots, ...(issuers && { certificates: issuers.map(({ der }) => der) }) });
  const beside = join(file, '..', 'certificate.pem');
  if (!issuers || !existsSync(beside)) return;
  if (readFileSync(beside, 'utf8').includes(toPem(certificate.der).trim()))
    writeDurably(beside, issuers.map(({ der }) => toPem(der)).join(''), 0o644);
}

const isSameKey = (a: Certificate, b: Certificate): boolean => equalBytes(a.verifier.publicKey, b.verifier.publicKey);
const isIssuer = (ca: Certificate, below: Certificate | undefined): boolean =>
  below?.authorityKeyId !== undefined &&
  ca.subjectKeyId !== undefined &&
  equalBytes(below.authorityKeyId, ca.subjectKeyId);

/** Leaf first; empty where the first is none. */
type Chain = readonly [LeafCertificate?, ...Certificate[]];

async function servers(
  { suite, trustedRoots }: OpenList,
  options: RolloverOptions,
): Promise<{ readonly authority: Chain; readonly backend: Chain }> {
  const { certificates } = (await backendOf(callerKeys(options), systemNowS).get('identity')) as {
    readonly certificates: readonly string[];
  };
  const { certificates: own } = readIdentity(suite, {
    certificate: join(options.authority, 'certificate.pem'),
    key: join(options.authority, 'key.pem'),
  });
  const [leaf, ...above] = own.map((der) => parseCertificate(suite, der));
  const backend = shownBackend({ suite, trustedRoots, nowS: systemNowS() }, certificates.map(fromBase64Url));
  return { authority: leaf && leaf.role !== 'ca' ? [leaf, ...above] : [], backend };
}

const startsAgainS = 30;

/** The backend starts anew meanwhile, twice: once it trusts the new root, and once it has its certificate. */
async function renewBackend(rollover: Rollover, options: RolloverOptions): Promise<void> {
  const { days } = options;
  const look = async (): Promise<true | undefined> => {
    try {
      const [leaf, ...above] = (await servers(rollover.current, options)).backend;
      if (leaf && isUnder(rollover, leaf, above)) return true;
      const chain = leaf && recertify(rollover.next, leaf, { days, nowS: systemNowS() });
      const manager = managerOf(callerKeys(options), options.authority);
      if (chain) await manager.send('PUT', 'identity/certificates', { certificates: chain.map(toBase64Url) });
    } catch (error) {
      if (!(error instanceof GridringError)) throw error;
    }
    return undefined;
  };
  await waitFor('the backend with its new certificate', startsAgainS, look);
}

/** Who keeps the old root from being given up, one line each. */
async function left(rollover: Rollover, options: RolloverOptions): Promise<readonly string[]> {
  const { current } = rollover;
  const { authority, backend } = await servers(current, options);
  const chains = [
    ...holdersIn(current).map((leaf) => [leaf, ...current.certificates] as const),
    ...[authority, backend].flatMap(([leaf, ...above]) => (leaf ? [[leaf, ...above] as const] : [])),
  ];
  const hanging = chains.filter(([leaf, ...above]) => !isUnder(rollover, leaf, above)).map(([leaf]) => urnOf(leaf));
  const keyFiles = keyFilesOf(options).filter((file) => {
    const { certificate, certificates } = readReaderFile(file);
    const above = certificates.map((der) => parseCertificate(current.suite, der));
    return !isUnder(rollover, certificate, above);
  });
  const groups = await new Community(callerKeys(options), systemNowS).groups(toHex(current.list.gid));
  const unseen = groups.flatMap((group) => membersOf(group)).filter(({ holdsKey }) => !holdsKey);
  return [
    ...hanging.map((urn) => `${urn} has no certificate under the new root`),
    ...keyFiles.map((file) => `${file} has no certificate under the new root`),
    ...unseen.map(({ id }) => `urn:gridring:meter:${id} has not agreed on a key with its new certificate yet`),
  ];
}

function report(
  { json, dryRun }: Pick<RolloverOptions, 'json' | 'dryRun'>,
  event: string,
  lines: readonly string[],
): void {
  if (json) {
    printJson({ event, left: lines, ...(dryRun && { dryRun }) });
    return;
  }
  for (const line of lines) printLine(line);
  if (lines.length === 0) {
    printLine(
      event === 'rollover-finished' ? 'the new root alone is trusted' : 'nobody is left: "gridring ca rollover finish"',
    );
  }
}
