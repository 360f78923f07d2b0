/** What a device needs to ask for its certificate: where, with which code, and whom to trust. As a file, or as the text of a label. */
import { Ajv } from 'ajv';
import { fromBase64Url, toBase64Url, toHex } from '../../crypto/bytes.js';
import { SetupError } from '../../crypto/errors.js';
import type { Random, SuiteName } from '../../crypto/suite.js';

export interface Invitation {
  readonly suite: SuiteName;
  /** `urn:gridring:<role>:<id>` */
  readonly device: string;
  readonly code: string;
  /** Base URL of the backend. */
  readonly backend: string;
  /** SHA-256 of the root's certificate, in hex. */
  readonly rootHash: string;
  /** The certificate itself, DER; a label has no room for it. */
  readonly root?: Uint8Array;
  /** The gateway's Thing Description, where it is known. */
  readonly gateway?: string;
}

const format = 'gridring-invitation/1';
/** Without letters that are mistaken for others: 20 of these are 100 bits. */
const letters = 'ABCDEFGHJKLMNPQRSTUVWXYZ23456789';
const codeLength = 20;

export const makeCode = (random: Random): string =>
  [...random(codeLength)].map((byte) => letters[byte % letters.length] ?? '').join('');

export function invitationFile({ root, ...invitation }: Invitation): string {
  return `${JSON.stringify({ format, ...invitation, ...(root && { root: toBase64Url(root) }) }, null, 2)}\n`;
}

export function invitationText({ suite, device, code, backend, rootHash, gateway }: Invitation): string {
  const fields = { suite, device, code, backend, root: rootHash, ...(gateway !== undefined && { gateway }) };
  return `gridring:enrol?${new URLSearchParams(fields).toString()}`;
}

const text = { type: 'string', maxLength: 500 } as const;
const schema = {
  type: 'object',
  properties: {
    format: { const: format },
    suite: { enum: ['x25519', 'p256'] },
    device: { type: 'string', pattern: '^urn:gridring:(meter|gateway|backend|operator):[a-z0-9-]{1,64}$' },
    code: { type: 'string', pattern: '^[A-Z2-9]{20}$' },
    backend: { ...text, pattern: '^https?://' },
    rootHash: { type: 'string', pattern: '^[0-9a-f]{64}$' },
    root: { type: 'string', pattern: '^[\\w-]+$', maxLength: 3_000 },
    gateway: text,
  },
  required: ['format', 'suite', 'device', 'code', 'backend', 'rootHash'],
  additionalProperties: false,
} as const;

/** Compiled where one is read, and once for many. */
const compileSchema = () =>
  new Ajv().compile<Omit<Invitation, 'root'> & { readonly root?: string; readonly format: string }>(schema);
let compiled: ReturnType<typeof compileSchema> | undefined;

/** From the content of a file or the text of a label. @throws SetupError `invitation-unusable` */
export function parseInvitation(content: string): Invitation {
  const fields = content.startsWith('gridring:enrol?') ? ofLabel(content) : ofFile(content);
  const isInvitation = (compiled ??= compileSchema());
  if (!isInvitation(fields)) {
    const [fault] = isInvitation.errors ?? [];
    throw unusable(`${fault?.instancePath || 'it'} ${fault?.message ?? 'is not of its form'}`);
  }
  const { suite, device, code, backend, rootHash, root, gateway } = fields;
  return {
    ...{ suite, device, code, backend, rootHash },
    ...(root !== undefined && { root: fromBase64Url(root) }),
    ...(gateway !== undefined && { gateway }),
  };
}

function ofLabel(content: string): unknown {
  const { root: rootHash, ...fields } = Object.fromEntries(
    new URLSearchParams(content.trim().slice(content.indexOf('?') + 1)),
  );
  return { format, ...fields, rootHash };
}

function ofFile(content: string): unknown {
  try {
    return JSON.parse(content);
  } catch (cause) {
    throw unusable('it is neither a file nor the text of a label', cause);
  }
}

/** @throws SetupError `root-other` where the root is another than the one that the invitation names */
export function assertRoot({ rootHash }: Invitation, certHash: Uint8Array): void {
  if (toHex(certHash) === rootHash) return;
  throw new SetupError('root-other', 'the root certificate is another than the one that the invitation names');
}

const unusable = (why: string, cause?: unknown): SetupError =>
  new SetupError('invitation-unusable', `this is no invitation: ${why}`, cause);
