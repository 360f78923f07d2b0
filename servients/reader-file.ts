/** The key file of a reader: all that a person or program needs to fetch and open what was granted to it. */
import { Ajv } from 'ajv';
import { fromBase64Url, toBase64Url } from '../crypto/bytes.js';
import { fromPem, toPem } from '../crypto/certificate/pem.js';
import { parseCertificate, type Certificate, type LeafCertificate } from '../crypto/certificate.js';
import { SetupError } from '../crypto/errors.js';
import type { AgreementKey, Signer, Suite, SuiteName } from '../crypto/suite.js';
import { suiteByName } from '../crypto/suite-node.js';
import { privateKeyFromPem, privateKeyToPem, readText, writePrivate } from './identity-files.js';

const format = 'gridring-reader/1';

interface ReaderFile {
  readonly format: typeof format;
  readonly suite: SuiteName;
  /** Leaf first, PEM. */
  readonly certificates: string;
  readonly signingKey: string;
  readonly hpkeSecret: string;
  readonly root: string;
  /** Base URL and audience of the backend. */
  readonly backend: { readonly url: string; readonly audience: string };
}

const text = { type: 'string', maxLength: 20_000 } as const;
const schema = {
  type: 'object',
  properties: {
    format: { const: format },
    suite: { enum: ['x25519', 'p256'] },
    certificates: text,
    signingKey: text,
    hpkeSecret: { type: 'string', pattern: '^[\\w-]{43}$' },
    root: text,
    backend: {
      type: 'object',
      properties: { url: text, audience: text },
      required: ['url', 'audience'],
      additionalProperties: false,
    },
  },
  required: ['format', 'suite', 'certificates', 'signingKey', 'hpkeSecret', 'root', 'backend'],
  additionalProperties: false,
} as const;

/** Compiled where a file is read: most processes read none. */
const compileSchema = () => new Ajv({ allErrors: true }).compile<ReaderFile>(schema);
let compiled: ReturnType<typeof compileSchema> | undefined;

export interface ReaderKeys {
  readonly suite: Suite;
  readonly certificate: LeafCertificate;
  /** Leaf first, DER. */
  readonly certificates: readonly Uint8Array[];
  readonly signer: Signer;
  readonly secret: Uint8Array;
  readonly hpkeKey: AgreementKey;
  /** The newest of those that are trusted. */
  readonly root: Certificate;
  /** All of them, where there are several. */
  readonly roots?: readonly Certificate[];
  readonly backend: { readonly url: string; readonly audience: string };
}

export interface ReaderIssue {
  readonly suite: Suite;
  readonly chain: readonly Uint8Array[];
  readonly secret: Uint8Array;
  readonly hpkeSecret: Uint8Array;
  readonly root: Uint8Array;
  readonly backend: { readonly url: string; readonly audience: string };
}

export function writeReaderFile(path: string, { suite, chain, secret, hpkeSecret, root, backend }: ReaderIssue): void {
  const file: ReaderFile = {
    format,
    suite: suite.name,
    certificates: chain.map(toPem).join(''),
    signingKey: privateKeyToPem(suite, secret, suite.signer(secret).publicKey),
    hpkeSecret: toBase64Url(hpkeSecret),
    root: toPem(root),
    backend,
  };
  write(path, file);
}

/** Where the backend has moved to another address. @throws SetupError `file-unreadable`, `reader-file-unusable` */
export function moveReaderFile(path: string, backendUrl: string): void {
  const file = read(path);
  if (file.backend.url !== backendUrl) write(path, { ...file, backend: { ...file.backend, url: backendUrl } });
}

/** All roots that the holder of a key file trusts. */
export const trustedBy = ({ root, roots = [root] }: Pick<ReaderKeys, 'root' | 'roots'>): readonly Certificate[] =>
  roots;

/** Puts other certificates of the same key, or other roots, into a key file. @throws as `readReaderFile` */
export function changeReaderFile(
  path: string,
  change: { readonly certificates?: readonly Uint8Array[]; readonly roots?: readonly Certificate[] },
): void {
  const { certificates, roots } = change;
  write(path, {
    ...read(path),
    ...(certificates && { certificates: certificates.map(toPem).join('') }),
    ...(roots && { root: roots.map(({ der }) => toPem(der)).join('') }),
  });
}

/** @throws SetupError `file-unreadable`, `reader-file-unusable` */
export function readReaderFile(path: string): ReaderKeys {
  const file = read(path);
  const suite = suiteByName(file.suite);
  try {
    const certificates = fromPem(file.certificates);
    const certificate = parseCertificate(suite, certificates[0] ?? new Uint8Array(0));
    const roots = fromPem(file.root).map((der) => parseCertificate(suite, der));
    const root = roots.at(-1);
    if (!root) throw unusable(path, 'it names no root');
    if (certificate.role === 'ca') throw unusable(path, 'its certificate is that of a CA');
    const secret = privateKeyFromPem(suite, file.signingKey, path);
    const hpkeKey = suite.agreementKey(fromBase64Url(file.hpkeSecret));
    const { backend } = file;
    return { suite, certificate, certificates, signer: suite.signer(secret), secret, hpkeKey, root, roots, backend };
  } catch (cause) {
    if (cause instanceof SetupError) throw cause;
    throw unusable(path, 'a key or certificate in it cannot be used', cause);
  }
}

const write = (path: string, file: ReaderFile): void => {
  writePrivate(path, `${JSON.stringify(file, null, 2)}\n`);
};

function read(path: string): ReaderFile {
  let file: unknown;
  try {
    file = JSON.parse(readText(path, 'reader key file'));
  } catch (cause) {
    if (cause instanceof SetupError) throw cause;
    throw unusable(path, 'it is not JSON', cause);
  }
  const isReaderFile = (compiled ??= compileSchema());
  if (isReaderFile(file)) return file;
  const [fault] = isReaderFile.errors ?? [];
  throw unusable(path, `${fault?.instancePath || 'the file'} ${fault?.message ?? 'is not of its form'}`);
}

const unusable = (path: string, why: string, cause?: unknown): SetupError =>
  new SetupError('reader-file-unusable', `${path} is no usable reader key file: ${why}`, cause);
