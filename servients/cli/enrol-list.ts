/** `gridring meter sign-devices` and `meter enrol --from`: many meters at once, from a list that somebody has signed. */
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { equalBytes, toHex, utf8 } from '../../crypto/bytes.js';
import { toPem } from '../../crypto/certificate/pem.js';
import { signDeviceList, verifyDeviceList, type VerifiedDeviceList } from '../../crypto/device-list.js';
import { LimitError, MalformedError, SetupError, VerificationError } from '../../crypto/errors.js';
import { limits } from '../../crypto/limits.js';
import { findEntry } from '../../crypto/membership.js';
import type { Suite, SuiteName } from '../../crypto/suite.js';
import { suiteByName } from '../../crypto/suite-node.js';
import { certify, openCa } from '../ca.js';
import { readCertificates, readIdentity, readText, writePrivate, writePublic } from '../identity-files.js';
import { issuedChain, type Chain } from '../lifecycle/approval.js';
import { readDeviceRows, type DeviceRow, type DeviceRows, type RefusedRow } from '../lifecycle/device-rows.js';
import { invitationFile, makeCode, parseInvitation, type Invitation } from '../lifecycle/invitation.js';
import { labelSheet, labelsOnSheet, type Labelled } from '../lifecycle/label-sheet.js';
import type { OpenList } from '../membership/list-file.js';
import type { Asking } from '../chain-client.js';
import { systemNowS } from '../runtime.js';
import { callerKeys } from './caller.js';
import { managerOf, putInto, type ManageOptions } from './enrol-manage.js';
import { openFile } from './membership-sign.js';
import { printJson, printLine } from './output.js';

export interface ListOptions extends ManageOptions {
  /** Where certificates, invitations and labels go, and what of them is there already. */
  readonly out: string;
  /** URN of an operator that no list names, whose lists count all the same. */
  readonly vendor?: string;
  readonly skipBad?: true;
}

const signatureOf = (path: string): string => `${path}.sig`;

/** Signs a list that can be taken whole. @throws MalformedError `device-list-refused`, and as `readDeviceRows` */
export function signDevices(
  path: string,
  { identity, suite: name, json }: { readonly identity: string; readonly suite: SuiteName; readonly json?: true },
): void {
  const suite = suiteByName(name);
  const file = readSmall(path, limits.deviceList);
  const { rows, refused } = readDeviceRows(suite, file);
  reportRefused(refused, json);
  if (refused.length > 0) throw allRefused(refused, rows, 'nothing is signed');
  const by = readIdentity(suite, { certificate: join(identity, 'certificate.pem'), key: join(identity, 'key.pem') });
  writePublic(signatureOf(path), signDeviceList(suite, by, file, systemNowS()));
  const signer = `urn:gridring:${by.leaf.role}:${by.leaf.id}`;
  if (json) printJson({ event: 'devices-signed', devices: rows.length, signer, signature: signatureOf(path) });
  else printLine(`${rows.length} devices, signed by ${signer}: send ${path} and ${signatureOf(path)}`);
}

/**
 * Takes a signed list in: certifies the keys that it tells, invites the others, and has the authority sign one list with all
 * of its group. Everything is written down as it is done: run again, it goes on where it was cut off.
 */
export async function enrolFrom(path: string, options: ListOptions): Promise<void> {
  const { json, dryRun } = options;
  const keys = callerKeys(options);
  const current = openFile(options);
  const file = readSmall(path, limits.deviceList);
  const signature = readSmall(signatureOf(path), limits.endorsement);
  const signed = verifyDeviceList({ ...current, nowS: systemNowS() }, file, signature);
  const signer = assertMaySign(signed, current, options.vendor);
  const { rows, refused } = withoutStrangers(readDeviceRows(keys.suite, file), keys.suite, current, options.out);
  reportRefused(refused, json);
  const [certified, invited] = [rows.filter(({ publicKey }) => publicKey), rows.filter(({ publicKey }) => !publicKey)];
  const listed = listedKeys(current);
  const gid = toHex(current.membership.list.gid);
  const own = certified.filter(({ id, group }) => group === gid && !listed.has(id));
  assertRoom(own, current);
  const plan = { devices: rows.length, certified: certified.length, invited: invited.length, ofGroup: own.length };
  if (dryRun) {
    if (json) printJson({ event: 'devices-planned', signer, ...plan, refused: refused.length, dryRun: true });
    else printLine(`signed by ${signer}: ${planLine(plan)}; ${refused.length} rows would be refused`);
    return;
  }
  if (refused.length > 0 && !options.skipBad) {
    throw allRefused(refused, rows, 'nothing is done; --skip-bad takes the others');
  }
  const chains = certifyAll(certified, current, options);
  await inviteAll(invited, keys, options);
  const sheets = await writeLabels(invited, options);
  if (own.length > 0) {
    const fresh = own.flatMap(({ id }) => {
      const chain = chains.get(id);
      return chain ? [chain] : [];
    });
    await putInto(fresh, [], [], options);
    writeTakenIn(options.out, [...readTakenIn(options.out), ...own.map(({ id }) => id)]);
  }
  if (json) {
    printJson({
      event: 'devices-enrolled',
      signer,
      ...plan,
      refused: refused.length,
      out: options.out,
      labels: sheets,
    });
    return;
  }
  printLine(`signed by ${signer}: ${planLine(plan)}, all of it in ${options.out}`);
  if (sheets.length > 0) printLine(`labels: ${sheets.join(', ')}; whoever reads them can ask in the meters' names`);
  const others = certified.filter(({ group }) => group !== undefined && group !== gid).length;
  if (others > 0) printLine(`${others} are of other groups: run it again with --file of each of their lists`);
}

interface Plan {
  readonly devices: number;
  readonly certified: number;
  readonly invited: number;
  readonly ofGroup: number;
}
const planLine = ({ devices, certified, invited, ofGroup }: Plan): string =>
  `${devices} devices, of which ${certified} certified, ${invited} invited, ${ofGroup} in the list`;

/** @throws SetupError `file-unreadable`; LimitError `device-list-too-large` */
function readSmall(path: string, maxBytes: number): Uint8Array {
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > maxBytes) {
    throw new LimitError('device-list-too-large', `${path} has more than ${maxBytes} bytes: make several of it`);
  }
  try {
    return new Uint8Array(readFileSync(path));
  } catch (cause) {
    const advice = 'a list stands beside its signature, "gridring meter sign-devices"';
    throw new SetupError('file-unreadable', `${path} cannot be read: ${advice}`, cause);
  }
}

/** @returns its URN. @throws VerificationError `device-list-signer` */
function assertMaySign({ signer }: VerifiedDeviceList, { membership }: OpenList, vendor: string | undefined): string {
  const { role, id, certHash } = signer;
  const urn = `urn:gridring:${role}:${id}`;
  const isOperator = role === 'operator' && (urn === vendor || findEntry(membership.list, certHash, 'operator'));
  if (role === 'authority' || isOperator) return urn;
  throw new VerificationError(
    'device-list-signer',
    `${urn} may not bring devices: it is neither the authority nor an operator of the list; --vendor ${urn} trusts it`,
  );
}

/** Of the meters of a list, by their ids. */
const listedKeys = ({ membership }: OpenList): ReadonlyMap<string, Uint8Array> =>
  new Map(
    membership.certificates.flatMap((certificate) =>
      certificate?.role === 'meter' ? [[certificate.id, certificate.verifier.publicKey]] : [],
    ),
  );

/**
 * A name that is somebody's already stays with that key: in the list, and among what was certified before. And whoever was
 * taken in once and is in the list no more does not come back by the same file.
 */
function withoutStrangers({ rows, refused }: DeviceRows, suite: Suite, current: OpenList, out: string): DeviceRows {
  const listed = listedKeys(current);
  const takenIn = new Set(readTakenIn(out));
  const whyNot = ({ line, id, publicKey }: DeviceRow): RefusedRow | undefined => {
    const before = listed.get(id) ?? certifiedBefore(suite, out, id)?.verifier.publicKey;
    if (before && !(publicKey && equalBytes(before, publicKey))) {
      const why = 'a meter of that id has a certificate for another key: revoke that one, or choose another id';
      return { line, id, code: 'device-other-key', why };
    }
    if (!takenIn.has(id) || listed.has(id)) return undefined;
    const why = 'it was taken into a list before and is in this one no more: "gridring membership add" takes it back';
    return { line, id, code: 'device-removed', why };
  };
  const strangers = rows.flatMap((row) => whyNot(row) ?? []);
  const lines = new Set(strangers.map(({ line }) => line));
  return { rows: rows.filter(({ line }) => !lines.has(line)), refused: [...refused, ...strangers] };
}

const takenInFile = (out: string): string => join(out, 'taken-in.txt');

/** Ids of the meters that were taken into a list; one that is cut off before it is written down is taken in again. */
function readTakenIn(out: string): readonly string[] {
  const path = takenInFile(out);
  return existsSync(path) ? readText(path, 'who was taken in').split('\n').filter(Boolean) : [];
}
const writeTakenIn = (out: string, ids: readonly string[]): void => {
  writePrivate(takenInFile(out), `${[...new Set(ids)].join('\n')}\n`);
};

const certificateFile = (out: string, id: string): string => join(out, 'certificates', `${id}.pem`);

/** Undefined where there is none, or one that was cut off when it was written. */
function certifiedBefore(suite: Suite, out: string, id: string) {
  const path = certificateFile(out, id);
  if (!existsSync(path)) return undefined;
  try {
    const [leaf] = readCertificates(suite, path, 'certificate');
    return leaf?.role === 'ca' ? undefined : leaf;
  } catch {
    return undefined;
  }
}

/** @throws MalformedError `members-too-many` before anything is signed */
function assertRoom(own: readonly DeviceRow[], { membership: { list, certificates } }: OpenList): void {
  const ids = new Set(
    list.entries.flatMap(({ certHash }, i) =>
      findEntry(list, certHash, 'member') ? [certificates[i]?.id ?? toHex(certHash)] : [],
    ),
  );
  for (const { id } of own) ids.add(id);
  if (ids.size <= limits.ringMembersHard) return;
  throw new MalformedError(
    'members-too-many',
    `${ids.size} members, and a group holds ${limits.ringMembersHard} at most: name several groups in the list`,
  );
}

/** By id. What was certified before stays. */
function certifyAll(
  rows: readonly DeviceRow[],
  { suite, trustedRoots }: OpenList,
  { ca: folder, days, out }: ListOptions,
): ReadonlyMap<string, Chain> {
  const nowS = systemNowS();
  const ca = rows.length > 0 ? openCa(suite, folder) : undefined;
  const chains = new Map<string, Chain>();
  for (const { id, publicKey } of rows) {
    if (!ca || !publicKey) continue;
    const path = certificateFile(out, id);
    if (!certifiedBefore(suite, out, id)) {
      const chain = certify(ca, publicKey, { role: 'meter', id, days, nowS, random: randomBytes });
      writePublic(path, chain.map(toPem).join(''));
    }
    const chain = readCertificates(suite, path, 'certificate').map(({ der }) => der);
    chains.set(id, issuedChain({ suite, trustedRoots, nowS }, `urn:gridring:meter:${id}`, chain));
  }
  return chains;
}

const invitationPath = (out: string, id: string): string => join(out, 'invitations', `${id}.json`);

/** A code is on the disk before the backend knows of it, and has its name when the backend does. */
async function inviteAll(rows: readonly DeviceRow[], keys: Asking, options: ListOptions): Promise<void> {
  const { authority, hours, out } = options;
  const manager = managerOf(keys, authority);
  const expiresAt = new Date((systemNowS() + hours * 3_600) * 1_000).toISOString();
  for (const row of rows) {
    const path = invitationPath(out, row.id);
    if (existsSync(path)) continue;
    const pending = `${path}.pending`;
    if (!existsSync(pending)) writePrivate(pending, invitationFile(invitationOf(row, keys, options)));
    const { device, code } = parseInvitation(readText(pending, 'invitation'));
    const codeHash = toHex(keys.suite.sha256(utf8(code)));
    await manager.send('PUT', `enrolments/${encodeURIComponent(device)}/invitation`, { codeHash, expiresAt });
    renameSync(pending, path);
  }
}

const invitationOf = (
  { id, gateway: own }: DeviceRow,
  { suite, backend, root }: Asking,
  { gateway = own }: ListOptions,
): Invitation => ({
  ...{ suite: suite.name, device: `urn:gridring:meter:${id}`, code: makeCode(randomBytes), backend: backend.url },
  ...{ rootHash: toHex(root.certHash), root: root.der },
  ...(gateway !== undefined && { gateway }),
});

/** Anew each time: of what is on the disk. @returns the files */
async function writeLabels(rows: readonly DeviceRow[], { out }: ListOptions): Promise<readonly string[]> {
  const sheets: string[] = [];
  for (let from = 0; from < rows.length; from += labelsOnSheet) {
    const labels = rows.slice(from, from + labelsOnSheet).map(({ id, name }): Labelled => {
      const invitation = parseInvitation(readText(invitationPath(out, id), 'invitation'));
      return { invitation, ...(name !== undefined && { name }) };
    });
    const path = join(out, `labels-${String(sheets.length + 1).padStart(3, '0')}.html`);
    writePrivate(path, await labelSheet(labels));
    sheets.push(path);
  }
  return sheets;
}

const shownRefusals = 100;

function reportRefused(refused: readonly RefusedRow[], json: true | undefined): void {
  if (json) {
    for (const row of refused) printJson({ event: 'device-refused', ...row });
    return;
  }
  for (const { line, id, code, why } of refused.slice(0, shownRefusals)) {
    printLine(`line ${line}${id === '' ? '' : ` (${id})`}: ${why} [${code}]`);
  }
  if (refused.length > shownRefusals) printLine(`and ${refused.length - shownRefusals} more; --json shows all`);
}

const allRefused = (refused: readonly RefusedRow[], rows: readonly DeviceRow[], then: string): MalformedError =>
  new MalformedError(
    'device-list-refused',
    `${refused.length} of ${refused.length + rows.length} rows cannot be taken: ${then}`,
  );
