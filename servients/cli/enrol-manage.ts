/** `gridring meter enrol --new` and `--approve`: inviting devices, and signing for those that have asked. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { toString as qrCode } from 'qrcode';
import { fromBase64Url, toBase64Url, toHex, utf8 } from '../../crypto/bytes.js';
import type { LeafCertificate } from '../../crypto/certificate.js';
import { verifyRequest } from '../../crypto/certificate/request.js';
import { SetupError } from '../../crypto/errors.js';
import type { Suite } from '../../crypto/suite.js';
import type { BackendClient } from '../backend-client.js';
import { certify, openCa, type CertificateAuthority } from '../ca.js';
import { backendOf } from '../chain-client.js';
import { readIdentity, writePrivate } from '../identity-files.js';
import { approvalOf, isListed, issuedChain, type Chain, type Waiting } from '../lifecycle/approval.js';
import { invitationFile, invitationText, makeCode, type Invitation } from '../lifecycle/invitation.js';
import { addEntry } from '../membership/edits.js';
import type { ReaderKeys } from '../reader-file.js';
import { systemNowS } from '../runtime.js';
import { callerKeys } from './caller.js';
import { namesOf } from './membership-drafts.js';
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

/** Who manages enrolments shows the authority's certificate to the backend of the key file. */
function managerOf(keys: ReaderKeys, folder: string): BackendClient {
  const files = { certificate: join(folder, 'certificate.pem'), key: join(folder, 'key.pem') };
  const { leaf, certificates, secret } = readIdentity(keys.suite, files);
  return backendOf({ ...keys, certificate: leaf, certificates, secret }, systemNowS);
}

/**
 * Signs for all meters that wait, or for the devices that are named, and takes meters into the list: one list for all. Run
 * again, it goes on where it was cut off; whom it has signed for before, it takes into the list where that one is named.
 */
export async function approve(ids: readonly string[], options: ManageOptions): Promise<void> {
  const { json, dryRun } = options;
  const keys = callerKeys(options);
  const manager = managerOf(keys, options.authority);
  const { due, issued } = approvalOf(await enrolments(manager), ids);
  if (dryRun) {
    for (const { device, state, request } of [...due, ...issued]) {
      const key = keyOf(keys.suite, request);
      if (json) printJson({ event: 'enrolment', device, state, key });
      else printLine(`${device}  ${state}  ${key}`);
    }
    if (due.length + issued.length === 0 && !json) printLine('nobody waits');
    return;
  }
  const chains: Chain[] = [];
  for (const enrolment of due) {
    chains.push(await answer(manager, keys, openCa(keys.suite, options.ca), enrolment, options.days));
    const key = keyOf(keys.suite, enrolment.request);
    if (json) printJson({ event: 'certificate-issued', device: enrolment.device, key });
    else if (enrolment.state === 'waiting') printLine(`certificate issued: ${enrolment.device} with key ${key}`);
  }
  await takeIn(chains, issued, options);
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

async function answer(
  manager: BackendClient,
  { suite, root }: ReaderKeys,
  ca: CertificateAuthority,
  { device, kind, request, certificates }: Waiting,
  days: number,
): Promise<Chain> {
  const check = { suite, root, nowS: systemNowS() };
  if (certificates) return issuedChain(check, device, certificates.map(fromBase64Url));
  if (request === undefined) throw new SetupError('enrolment-unknown', `${device} has not asked yet`);
  const { role, id, publicKey } = verifyRequest(ca.suite, fromBase64Url(request));
  if (device !== `urn:gridring:${role}:${id}`) {
    throw new SetupError(
      'certificate-role',
      `the request of ${device} is for urn:gridring:${role}:${id}: nothing is signed`,
    );
  }
  const chain = certify(ca, publicKey, { role, id, days, nowS: systemNowS(), random: randomBytes });
  const path = `enrolments/${encodeURIComponent(device)}/${kind}/certificates`;
  await manager.send('PUT', path, { certificates: chain.map(toBase64Url) });
  return issuedChain(check, device, chain);
}

/** Meters that the list does not name yet; with the others there is nothing to do. */
async function takeIn(chains: readonly Chain[], issued: readonly Waiting[], options: ManageOptions): Promise<void> {
  let [fresh, unlisted]: [number, readonly string[]] = [0, []];
  try {
    await signAndPublish(options, ({ list, certificates: known }) => {
      unlisted = issued.flatMap(({ device, certificates = [] }) =>
        isListed(list.entries, certificates[0]) ? [] : [device],
      );
      const leaves = chains.flatMap(([leaf]) => (leaf.role === 'meter' ? [leaf] : []));
      const absent = leaves.filter(({ der }) => !isListed(list.entries, toBase64Url(der)));
      fresh = absent.length;
      if (fresh === 0) throw new SetupError('nothing-changes', 'nobody is to be taken into the list');
      const certificates = chains.flat();
      const names = namesOf([...known, ...certificates]);
      const add = (before: typeof list, leaf: LeafCertificate): typeof list =>
        addEntry(before, { certificate: leaf, hpkeKey: null, reads: undefined }, names.id).list;
      return { list: absent.reduce(add, list), warnings: [], certificates };
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
