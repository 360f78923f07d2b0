/** `gridring meter enrol --new` and `--approve`: inviting devices, and signing for those that have asked. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { toString as qrCode } from 'qrcode';
import { equalBytes, fromBase64Url, toBase64Url, toHex, utf8 } from '../../crypto/bytes.js';
import { serverNamesOf, type LeafCertificate } from '../../crypto/certificate.js';
import { verifyRequest } from '../../crypto/certificate/request.js';
import { SetupError } from '../../crypto/errors.js';
import type { AuthorityList } from '../../crypto/membership.js';
import type { VerifiedRenewal } from '../../crypto/renewal.js';
import type { Suite } from '../../crypto/suite.js';
import type { BackendClient } from '../backend-client.js';
import { certify, openCa, type CertificateAuthority } from '../ca.js';
import { backendOf, type Asking } from '../chain-client.js';
import { readIdentity, writePrivate } from '../identity-files.js';
import {
  approvalOf,
  isListed,
  issuedChain,
  renewalsOf,
  type Chain,
  type Renewing,
  type Waiting,
} from '../lifecycle/approval.js';
import { invitationFile, invitationText, makeCode, type Invitation } from '../lifecycle/invitation.js';
import { addEntry, replaceEntry } from '../membership/edits.js';
import { systemNowS } from '../runtime.js';
import { callerKeys } from './caller.js';
import { namesOf } from './membership-drafts.js';
import { openFile } from './membership-sign.js';
import { printJson, printLine } from './output.js';
import { signAndPublish, type PublishingOptions } from './publishing.js';

export interface ManageOptions extends PublishingOptions {
  readonly hours: number;
  readonly gateway?: string;
  readonly out?: string;
  readonly label?: string;
  readonly ca: string;
  readonly days: number;
}

/** Makes a code, tells the backend its hash, and writes it down for the device. */
export async function invite(id: string, options: ManageOptions): Promise<void> {
  const { json, gateway, hours } = options;
  const keys = callerKeys(options);
  const code = makeCode(randomBytes);
  const invitation: Invitation = {
    ...{ suite: keys.suite.name, device: `urn:gridring:meter:${id}`, code, backend: keys.backend.url },
    ...{ rootHash: toHex(keys.root.certHash), root: keys.root.der, ...(gateway !== undefined && { gateway }) },
  };
  const expiresAt = new Date((systemNowS() + hours * 3_600) * 1_000).toISOString();
  if (options.dryRun) {
    if (json) printJson({ event: 'device-invited', device: invitation.device, expiresAt, dryRun: true });
    else printLine(`${invitation.device} would be invited until ${expiresAt}, by the key of ${options.authority}`);
    return;
  }
  const codeHash = toHex(keys.suite.sha256(utf8(code)));
  const path = `enrolments/${encodeURIComponent(invitation.device)}/invitation`;
  await managerOf(keys, options.authority).send('PUT', path, { codeHash, expiresAt });
  const [file, label] = [options.out ?? `invitation-${id}.json`, options.label ?? `label-${id}.svg`];
  const text = invitationText(invitation);
  writePrivate(file, invitationFile(invitation));
  writePrivate(label, await qrCode(text, { type: 'svg', errorCorrectionLevel: 'M' }));
  if (json) {
    printJson({ event: 'device-invited', device: invitation.device, expiresAt, file, label, text });
    return;
  }
  printLine(await qrCode(text, { type: 'utf8', errorCorrectionLevel: 'L' }));
  printLine(`${invitation.device} is invited until ${expiresAt}: ${file} for the device, or the label ${label}`);
  printLine(`on the device: gridring meter enrol --invitation ${file} --out FOLDER`);
}

/** Who manages enrolments is logged in, or shows the authority's certificate to the backend of the key file. */
export function managerOf(keys: Asking, folder: string): BackendClient {
  if ('send' in keys) return backendOf(keys, systemNowS);
  const files = { certificate: join(folder, 'certificate.pem'), key: join(folder, 'key.pem') };
  const { leaf, certificates, secret } = readIdentity(keys.suite, files);
  return backendOf({ ...keys, certificate: leaf, certificates, secret }, systemNowS);
}

/**
 * Signs for all meters that wait and for all who ask for their next certificate, or for the devices that are named, and
 * puts them into the list: one list for all. Run again, it goes on where it was cut off; whom it has signed for before, it
 * takes into the list where that one is named.
 */
export async function approve(ids: readonly string[], options: ManageOptions): Promise<void> {
  const keys = callerKeys(options);
  const manager = managerOf(keys, options.authority);
  const { list, trustedRoots } = openFile(options);
  const all = await enrolments(manager);
  const { due, issued } = approvalOf(all, ids);
  const check = { suite: keys.suite, trustedRoots, nowS: systemNowS() };
  const renewals = renewalsOf({ ...check, list }, all, ids);
  for (const { device, code } of renewals.refused) {
    if (options.json) printJson({ event: 'renewal-refused', device, code });
    else if (code === 'renewal-unnamed') {
      printLine(`${device} asks for its next certificate: no list could take it back, so it is for who is named alone`);
    } else printLine(`${device} asks for its next certificate, and is not to have one [${code}]`);
  }
  if (options.dryRun) {
    showWaiting(keys.suite, [...due, ...issued], renewals.due, options);
    return;
  }
  const ca = openCa(keys.suite, options.ca);
  const signing = { manager, check, ca, days: options.days };
  const chains: Chain[] = [];
  for (const enrolment of due) {
    chains.push(await answer(signing, enrolment));
    const key = keyOf(keys.suite, enrolment.request);
    if (options.json) printJson({ event: 'certificate-issued', device: enrolment.device, key });
    else if (enrolment.state === 'waiting') printLine(`certificate issued: ${enrolment.device} with key ${key}`);
  }
  const renewed: Replacement[] = [];
  for (const { waiting, renewal } of renewals.due) {
    const { holder, publicKey } = renewal;
    renewed.push({ holder, chain: await renew(signing, waiting, renewal) });
    const key = toHex(publicKey);
    if (options.json) printJson({ event: 'certificate-renewed', device: waiting.device, key });
    else if (waiting.state === 'waiting') printLine(`certificate renewed: ${waiting.device} with key ${key}`);
  }
  await putInto(chains, renewed, issued, options);
}

function showWaiting(
  suite: Suite,
  waiting: readonly Waiting[],
  renewing: readonly Renewing[],
  { json }: Pick<ManageOptions, 'json'>,
): void {
  const rows = [
    ...waiting.map(({ device, state, request }) => ({ device, state, key: keyOf(suite, request) })),
    ...renewing.map(({ waiting: { device, state }, renewal: { holder, publicKey } }) => {
      return { device, state, key: toHex(publicKey), replaces: toHex(holder.certHash) };
    }),
  ];
  for (const row of rows) {
    if (json) printJson({ event: 'enrolment', ...row });
    else printLine(`${row.device}  ${'replaces' in row ? 'renewal, ' : ''}${row.state}  ${row.key}`);
  }
  if (rows.length === 0 && !json) printLine('nobody waits');
}

/** That somebody can compare with what the device shows. */
const keyOf = (suite: Suite, request: string | undefined): string =>
  request === undefined ? '' : toHex(verifyRequest(suite, fromBase64Url(request)).publicKey);

async function enrolments(manager: BackendClient): Promise<readonly Waiting[]> {
  const all: Waiting[] = [];
  for (let after = ''; ;) {
    const page = (await manager.get(`enrolments?limit=500&after=${encodeURIComponent(after)}`)) as {
      readonly enrolments: readonly Waiting[];
    };
    all.push(...page.enrolments);
    after = page.enrolments.at(-1)?.device ?? '';
    if (page.enrolments.length < 500) return all;
  }
}

interface Signing {
  readonly manager: BackendClient;
  readonly check: Parameters<typeof issuedChain>[0];
  readonly ca: CertificateAuthority;
  readonly days: number;
}

async function answer(signing: Signing, waiting: Waiting): Promise<Chain> {
  const { device, request, certificates } = waiting;
  const { check, ca, days } = signing;
  if (certificates) return issuedChain(check, device, certificates.map(fromBase64Url));
  if (request === undefined) throw new SetupError('enrolment-unknown', `${device} has not asked yet`);
  const { role, id, publicKey } = verifyRequest(ca.suite, fromBase64Url(request));
  if (device !== `urn:gridring:${role}:${id}`) {
    throw new SetupError(
      'certificate-role',
      `the request of ${device} is for urn:gridring:${role}:${id}: nothing is signed`,
    );
  }
  return give(signing, waiting, certify(ca, publicKey, { role, id, days, nowS: check.nowS, random: randomBytes }));
}

/** Who the holder is says the certificate that is replaced, and nothing else does. */
async function renew(signing: Signing, waiting: Waiting, { holder, publicKey }: VerifiedRenewal): Promise<Chain> {
  const { check, ca, days } = signing;
  if (waiting.certificates) {
    const chain = issuedChain(check, waiting.device, waiting.certificates.map(fromBase64Url));
    if (equalBytes(chain[0].verifier.publicKey, publicKey)) return chain;
    throw new SetupError(
      'certificate-of-another',
      `the backend shows another key for ${waiting.device}: nothing is signed`,
    );
  }
  const { role, id } = holder;
  const subject = { role, id, servedAs: serverNamesOf(holder), days, nowS: check.nowS, random: randomBytes };
  return give(signing, waiting, certify(ca, publicKey, subject));
}

async function give(
  { manager, check }: Signing,
  { device, kind }: Waiting,
  chain: readonly Uint8Array[],
): Promise<Chain> {
  const path = `enrolments/${encodeURIComponent(device)}/${kind}/certificates`;
  await manager.send('PUT', path, { certificates: chain.map(toBase64Url) });
  return issuedChain(check, device, chain);
}

interface Replacement {
  readonly holder: LeafCertificate;
  readonly chain: Chain;
}

/** Meters that the list does not name yet, and certificates in the place of others; with the rest there is nothing to do. */
export async function putInto(
  chains: readonly Chain[],
  renewed: readonly Replacement[],
  issued: readonly Waiting[],
  options: ManageOptions,
): Promise<void> {
  let [fresh, unlisted]: [number, readonly string[]] = [0, []];
  try {
    await signAndPublish(options, ({ list, certificates: known }) => {
      unlisted = issued.flatMap(({ device, certificates = [] }) =>
        isListed(list.entries, certificates[0]) ? [] : [device],
      );
      const leaves = chains.flatMap(([leaf]) => (leaf.role === 'meter' ? [leaf] : []));
      const absent = leaves.filter(({ der }) => !isListed(list.entries, toBase64Url(der)));
      const replaced = renewed.filter(({ holder }) => isListed(list.entries, toBase64Url(holder.der)));
      fresh = absent.length + replaced.length;
      if (fresh === 0) throw new SetupError('nothing-changes', 'nobody is to be taken into the list');
      const certificates = [...chains, ...renewed.map(({ chain }) => chain)].flat();
      const names = namesOf([...known, ...certificates]);
      const add = (before: AuthorityList, leaf: LeafCertificate): AuthorityList =>
        addEntry(before, { certificate: leaf, hpkeKey: null, reads: undefined }, names.id).list;
      const replace = (before: AuthorityList, { holder, chain: [leaf] }: Replacement): AuthorityList =>
        replaceEntry(before, holder, leaf).list;
      return { list: replaced.reduce(replace, absent.reduce(add, list)), warnings: [], certificates };
    });
  } catch (error) {
    if (fresh > 0 || !(error instanceof SetupError) || error.code !== 'nothing-changes') throw error;
    if (!options.json && unlisted.length === 0) {
      printLine('all who have a certificate are in the list: nothing is to be signed');
    }
  }
  for (const device of unlisted) {
    if (options.json) printJson({ event: 'enrolment-unlisted', device });
    else printLine(`${device} has a certificate and is not in the list: name it to take it in, unless it was removed`);
  }
}
