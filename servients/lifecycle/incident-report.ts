/**
 * The report of an incident: what happened to a meter and which keys it exposes, in a JSON file that people read and whose
 * signature covers every field.
 */
import { Ajv } from 'ajv';
import addFormats from 'ajv-formats';
import { equalBytes, fromBase64Url, fromHex, toBase64Url, utf8 } from '../../crypto/bytes.js';
import { parseCertificate, verifyChain, type Certificate, type VerifiedCertificate } from '../../crypto/certificate.js';
import { parseSign1, sign1, verifySign1 } from '../../crypto/cose.js';
import { GridringError, SetupError, VerificationError } from '../../crypto/errors.js';
import type { Suite } from '../../crypto/suite.js';
import type { Identity } from '../../things/parts.js';
import { readText } from '../identity-files.js';

const format = 'gridring-incident/1';
const maxFileLength = 2_000_000;
const maxCertificates = 4;

export interface ExposedEpoch {
  readonly gid: string;
  readonly epoch: number;
  readonly attempt: number;
  readonly keyName: string;
  readonly recordedAt: string;
  /** When the next epoch was recorded; null: its key is in use. */
  readonly replacedAt: string | null;
}

export interface Incident {
  readonly kind: 'stolen';
  readonly meter: string;
  readonly certHash: string;
  readonly reportedAt: string;
  /** The list that removed it. */
  readonly removedBy: { readonly gid: string; readonly listVersion: number; readonly listHash: string };
  /** The first epoch without it. */
  readonly rekeyedBy: { readonly epoch: number; readonly attempt: number; readonly recordedAt: string };
  /** Groups whose newest list still names it. */
  readonly stillListedIn: readonly string[];
  /** Whose keys it held: what was said under these can be read with what is in it. */
  readonly exposedEpochs: readonly ExposedEpoch[];
  /** Its own chain as the backend had it; null where the caller may not see it. What it seals later is not to be believed. */
  readonly chain: { readonly readings: number; readonly lastSequence: number } | null;
}

const text = { type: 'string', maxLength: 200 } as const;
const time = { type: 'string', format: 'date-time' } as const;
const gid = { type: 'string', pattern: '^[0-9a-f]{32}$' } as const;
const hash = { type: 'string', pattern: '^[0-9a-f]{64}$' } as const;
const count = { type: 'integer', minimum: 0 } as const;
const object = (properties: object, nullable = false): object => ({
  type: nullable ? ['object', 'null'] : 'object',
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
});
const exposed = object({
  ...{ gid, epoch: count, attempt: count, keyName: text, recordedAt: time },
  replacedAt: { ...time, type: ['string', 'null'] },
});
const schema = object({
  format: { const: format },
  incident: object({
    ...{ kind: { const: 'stolen' }, meter: text, certHash: hash, reportedAt: time },
    removedBy: object({ gid, listVersion: count, listHash: hash }),
    rekeyedBy: object({ epoch: count, attempt: count, recordedAt: time }),
    stillListedIn: { type: 'array', items: gid },
    exposedEpochs: { type: 'array', items: exposed },
    chain: object({ readings: count, lastSequence: count }, true),
  }),
  certificates: { type: 'array', items: { type: 'string', maxLength: 3_000 }, maxItems: maxCertificates },
  signature: { type: 'string', maxLength: 1_000 },
});

interface ReportFile {
  readonly format: typeof format;
  readonly incident: Incident;
  /** Of who signed, the leaf first; base64url. */
  readonly certificates: readonly string[];
  /** COSE_Sign1 over SHA-256 of the incident as compact JSON. */
  readonly signature: string;
}

const contextOf = ({ removedBy }: Incident) => ({ type: 'incident', context: fromHex(removedBy.gid) });
const digest = (suite: Suite, incident: Incident): Uint8Array => suite.sha256(utf8(JSON.stringify(incident)));
const asText = (file: ReportFile): string => `${JSON.stringify(file, null, 2)}\n`;

/** The text of the report's file. */
export function signIncident(suite: Suite, { signer, kid, certificates }: Identity, incident: Incident): string {
  const signature = sign1(suite, signer, kid, contextOf(incident), digest(suite, incident));
  return asText({
    format,
    incident,
    certificates: certificates.map(toBase64Url),
    signature: toBase64Url(signature),
  });
}

/**
 * Checks who signed a report, an authority or an operator, and that it is as it was signed.
 * @throws SetupError `file-unreadable`, `report-unusable`; MalformedError, VerificationError
 */
export function verifyIncident(
  check: { readonly suite: Suite; readonly trustedRoots: readonly Certificate[]; readonly nowS: number },
  path: string,
): { readonly incident: Incident; readonly signer: VerifiedCertificate } {
  const { suite, trustedRoots, nowS } = check;
  const { incident, certificates, signature } = parseReport(path);
  const [leaf, ...above] = certificates.map((der) => parseCertificate(suite, fromBase64Url(der)));
  if (!leaf) throw unusable(path, 'it names nobody who signed it');
  const signedS = Math.floor(Date.parse(incident.reportedAt) / 1000);
  // Certificates end and reports stay; but nobody signs for times that are still to come.
  const signer = verifyChain(suite, leaf, above, trustedRoots, Math.min(nowS, signedS));
  if (signer.role !== 'authority' && signer.role !== 'operator') {
    throw new VerificationError('certificate-role', `a report signed by a ${signer.role}`);
  }
  const message = parseSign1(fromBase64Url(signature), maxFileLength);
  if (!equalBytes(message.kid, signer.kid)) throw new VerificationError('wrong-signer', 'signed by another key');
  verifySign1(suite, signer.verifier, message, contextOf(incident));
  if (!equalBytes(message.payload, digest(suite, incident))) {
    throw new VerificationError('report-altered', 'the report is not as it was signed');
  }
  return { incident, signer };
}

/** Only the form in which reports are written: nothing may stand in the file that the signature does not cover. */
function parseReport(path: string): ReportFile {
  const written = readText(path, 'report');
  if (written.length > maxFileLength) throw unusable(path, 'it is too large');
  let file: unknown;
  try {
    file = JSON.parse(written);
  } catch (cause) {
    throw unusable(path, 'it is not JSON', cause);
  }
  const isReport = addFormats.default(new Ajv({ allowUnionTypes: true })).compile<ReportFile>(schema);
  if (!isReport(file)) {
    const [fault] = isReport.errors ?? [];
    throw unusable(path, `${fault?.instancePath || 'the file'} ${fault?.message ?? 'is not of its form'}`);
  }
  if (asText(file) !== written) throw new VerificationError('report-altered', 'the file is not as it was written');
  return file;
}

const unusable = (path: string, why: string, cause?: unknown): GridringError =>
  new SetupError('report-unusable', `${path} is no report of an incident: ${why}`, cause);
