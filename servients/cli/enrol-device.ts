/** `gridring meter enrol --invitation`: on the device. Its key is made there and stays there. */
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { equalBytes, fromBase64Url, toBase64Url } from '../../crypto/bytes.js';
import { parseCertificate, verifyChain, type Certificate } from '../../crypto/certificate.js';
import { toPem } from '../../crypto/certificate/pem.js';
import { makeRequest } from '../../crypto/certificate/request.js';
import { SetupError, VerificationError } from '../../crypto/errors.js';
import { generateSigner } from '../../crypto/keys.js';
import type { Signer, Suite } from '../../crypto/suite.js';
import { suiteByName } from '../../crypto/suite-node.js';
import { BackendClient } from '../backend-client.js';
import { makeFetch } from '../bindings/tls-fetch.js';
import {
  privateKeyFromPem,
  privateKeyToPem,
  readCertificates,
  readText,
  writePrivate,
  writePublic,
} from '../identity-files.js';
import { assertRoot, parseInvitation, type Invitation } from '../lifecycle/invitation.js';
import { systemNowS } from '../runtime.js';
import { printJson, printLine } from './output.js';
import { waitFor } from './publishing.js';

export interface DeviceOptions {
  readonly invitation: string;
  readonly out: string;
  /** Where the invitation is a label, which has no room for it. */
  readonly root?: string;
  readonly wait?: number;
  readonly json?: true;
}

/** What is made first is written first: whatever happens, the device asks again with the same key and request. */
export async function enrolDevice(options: DeviceOptions): Promise<void> {
  const { out, wait, json } = options;
  const invitation = parseInvitation(
    existsSync(options.invitation) ? readText(options.invitation, 'invitation') : options.invitation,
  );
  const suite = suiteByName(invitation.suite);
  const root = rootOf(suite, invitation, options.root);
  writePublic(join(out, 'root.pem'), toPem(root.der));
  const signer = deviceKey(suite, out);
  const request = requestIn(out, suite, signer, invitation.device);
  const send = makeFetch({ roots: [root.der] });
  const backend = new BackendClient({ suite, trustedRoots: [root], url: invitation.backend, fetch: send });
  const { device, code } = invitation;
  const ask = async (): Promise<readonly Uint8Array[] | undefined> => {
    const answer = await backend.send('POST', 'enrolments/requests', { device, code, request: toBase64Url(request) });
    return (answer as { readonly certificates?: readonly string[] }).certificates?.map(fromBase64Url);
  };
  const chain =
    wait === undefined ? await ask() : await waitFor(`the certificate of ${device}`, wait, ask, asksEveryMs);
  if (!chain) {
    if (json) printJson({ event: 'enrolment-waiting', device });
    else printLine(`${device} has asked: run this again once "gridring meter enrol --approve" has answered`);
    return;
  }
  assertMine(suite, chain, root, signer);
  const certificate = join(out, 'certificate.pem');
  writePublic(certificate, chain.map(toPem).join(''));
  const config = meterConfig(invitation, out);
  if (json) printJson({ event: 'enrolled', device, certificate, key: join(out, 'key.pem'), ...(config && { config }) });
  else {
    printLine(`${device} has its certificate: ${certificate}`);
    if (config) printLine(`start it: gridring meter --config ${config}`);
  }
}

/** The backend counts what an address asks. */
const asksEveryMs = 5_000;

function rootOf(suite: Suite, invitation: Invitation, file: string | undefined): Certificate {
  const [root] =
    file === undefined
      ? invitation.root
        ? [parseCertificate(suite, invitation.root)]
        : []
      : readCertificates(suite, file, 'root certificate');
  if (!root)
    throw new SetupError('root-missing', 'a label names the root by its hash: give the certificate with --root');
  assertRoot(invitation, root.certHash);
  return root;
}

function deviceKey(suite: Suite, out: string): Signer {
  const path = join(out, 'key.pem');
  if (existsSync(path)) return suite.signer(privateKeyFromPem(suite, readText(path, 'private key'), path));
  const { secret, signer } = generateSigner(suite, randomBytes);
  writePrivate(path, privateKeyToPem(suite, secret, signer.publicKey));
  return signer;
}

/** Not every suite signs the same twice. */
function requestIn(out: string, suite: Suite, signer: Signer, device: string): Uint8Array {
  const path = join(out, 'request.der');
  if (existsSync(path)) return new Uint8Array(readFileSync(path));
  const [role, id] = device.split(':').slice(2) as ['meter', string];
  const request = makeRequest(suite, signer, { role, id });
  writePublic(path, request);
  return request;
}

function assertMine(suite: Suite, chain: readonly Uint8Array[], root: Certificate, { publicKey }: Signer): void {
  const [leaf, ...above] = chain.map((der) => parseCertificate(suite, der));
  if (!leaf) throw new VerificationError('certificate-of-another', 'the backend gave no certificate');
  const verified = verifyChain(suite, leaf, above, [root], systemNowS());
  if (equalBytes(verified.verifier.publicKey, publicKey)) return;
  throw new VerificationError('certificate-of-another', 'the certificate that came is not for the key of this device');
}

/** A configuration to begin with, where the invitation says what belongs into it; one that is there is left as it is. */
function meterConfig({ device, suite, gateway }: Invitation, out: string): string | undefined {
  const [role, id] = device.split(':').slice(2);
  if (role !== 'meter' || gateway === undefined) return undefined;
  const path = join(out, 'meter.json');
  if (existsSync(path)) return path;
  const meter = {
    ...{ id, dataDir: 'data', certificate: 'certificate.pem', key: 'key.pem', callable: false, wakeIntervalS: 10 },
    listen: { scheme: new URL(gateway).protocol === 'http:' ? 'http' : 'coap', address: '127.0.0.1', port: 0 },
    source: { kind: 'p1', path: '/dev/ttyUSB0' },
  };
  const config = { suite, root: 'root.pem', gateway: { td: gateway }, meters: [meter] };
  writePublic(path, `${JSON.stringify(config, null, 2)}\n`);
  return path;
}
