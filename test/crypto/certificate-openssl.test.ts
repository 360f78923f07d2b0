/** Certificates as others see them: Node's X509Certificate, and the openssl command; and theirs, as we see them. */
import { execFileSync, spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { fromPem, toPem } from '../../crypto/certificate/pem.js';
import { parseCertificate, verifyChain, type Certificate } from '../../crypto/certificate.js';
import { suiteP256, suiteX25519 } from '../../crypto/suite-node.js';
import type { Suite } from '../../crypto/suite.js';
import { issueCa, makePki, nowS } from './certificate-pki.js';
import { refusal } from './refusal.js';
import { allSuites } from './suite-pairs.js';

describe.each(allSuites)('what $on issues, Node', ({ suite }) => {
  const { root, issuing, leaf } = makePki(suite);
  const [x509Root, x509Issuing, x509Leaf] = [root.certificate, issuing.certificate, leaf].map(
    ({ der }) => new X509Certificate(der),
  );

  it('reads: subject, identity, validity, hash, who is a CA', () => {
    expect(x509Leaf!.subject).toBe('OU=meter\nCN=m-1');
    expect(x509Leaf!.issuer).toBe('CN=Test issuing CA');
    expect(x509Leaf!.subjectAltName).toBe('URI:urn:gridring:meter:m-1');
    expect(Date.parse(x509Leaf!.validFrom) / 1000).toBe(leaf.notBeforeS);
    expect(Date.parse(x509Leaf!.validTo) / 1000).toBe(leaf.notAfterS);
    expect(Buffer.from(x509Leaf!.fingerprint256.replaceAll(':', ''), 'hex')).toEqual(Buffer.from(leaf.certHash));
    expect([x509Root!.ca, x509Issuing!.ca, x509Leaf!.ca]).toEqual([true, true, false]);
  });

  it('verifies: each with the key above it, and with no other', () => {
    expect(x509Leaf!.verify(x509Issuing!.publicKey)).toBe(true);
    expect(x509Issuing!.verify(x509Root!.publicKey)).toBe(true);
    expect(x509Root!.verify(x509Root!.publicKey)).toBe(true);
    expect(x509Leaf!.verify(x509Root!.publicKey)).toBe(false);
    expect(x509Leaf!.checkIssued(x509Issuing!)).toBe(true);
    expect(x509Issuing!.checkIssued(x509Root!)).toBe(true);
    expect(x509Leaf!.checkIssued(x509Root!)).toBe(false);
  });

  it('finds the same key in', () => {
    const { x, y } = x509Leaf!.publicKey.export({ format: 'jwk' });
    const coordinates = Buffer.concat([Buffer.from(x!, 'base64url'), Buffer.from(y ?? '', 'base64url')]);
    expect(Buffer.from(leaf.verifier.publicKey).subarray(suite.id === 1 ? 0 : 1)).toEqual(coordinates);
  });
});

const command = 'openssl';
const isInstalled = spawnSync(command, ['version']).status === 0;
if (!isInstalled) console.warn('Skipped for want of the openssl command: apt-get install openssl');
it.runIf(process.env.CI === 'true')('the openssl command is installed where CI runs', () => {
  expect(isInstalled).toBe(true);
});

describe.runIf(isInstalled)('the openssl command', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gridring-openssl-'));
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });
  const file = (name: string, content?: string): string => {
    const path = join(folder, name);
    if (content !== undefined) writeFileSync(path, content);
    return path;
  };
  const openssl = (...args: readonly string[]): string =>
    execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  const pem = (...certificates: readonly Certificate[]): string => certificates.map(({ der }) => toPem(der)).join('');

  /** Under its strictest checks of RFC 5280. */
  const verifies = (trusted: Certificate, given: readonly Certificate[], leaf: Certificate): boolean => {
    const args = ['verify', '-x509_strict', '-check_ss_sig', '-purpose', 'any', '-attime', nowS.toString()];
    const untrusted = given.length > 0 ? ['-untrusted', file('given.pem', pem(...given))] : [];
    const run = spawnSync(command, [...args, '-CAfile', file('root.pem', pem(trusted)), ...untrusted, file('leaf.pem', pem(leaf))]); // prettier-ignore
    return run.status === 0;
  };

  it.each(allSuites)('verifies chains under $on, and only those that we do', ({ suite }) => {
    const { root, issuing, leaf } = makePki(suite);
    const namesake = issueCa(suite, { ca: 'root', name: 'Test root' }, { key: 'namesake' });
    expect(verifies(root.certificate, [issuing.certificate], leaf)).toBe(true);
    expect(verifies(root.certificate, [], leaf)).toBe(false);
    expect(verifies(namesake.certificate, [issuing.certificate], leaf)).toBe(false);
    expect(verifies(root.certificate, [], issuing.certificate)).toBe(true);
  });

  const kinds: readonly { readonly name: string; readonly suite: Suite; readonly newKey: readonly string[] }[] = [
    { name: 'Ed25519', suite: suiteX25519, newKey: ['-newkey', 'ed25519'] },
    { name: 'P-256', suite: suiteP256, newKey: ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'] },
  ];
  const caExtensions = ['-addext', 'keyUsage=critical,keyCertSign,cRLSign'];
  const leafExtensions = [
    'basicConstraints=critical,CA:FALSE',
    'keyUsage=critical,digitalSignature',
    'subjectAltName=URI:urn:gridring:gateway:g-1',
    'subjectKeyIdentifier=hash',
    'authorityKeyIdentifier=keyid',
  ].join('\n');

  it.each(kinds)('makes $name certificates that we read and verify', ({ suite, newKey }) => {
    const [caKey, caPem, key, request, leafPem] = ['ca.key', 'ca.pem', 'leaf.key', 'leaf.csr', 'made.pem'].map((name) =>
      file(name),
    ) as [string, string, string, string, string];
    openssl('req', '-x509', ...newKey, '-nodes', '-keyout', caKey, '-out', caPem, '-subj', '/O=Utility/CN=Their root', ...caExtensions); // prettier-ignore
    openssl('req', ...newKey, '-nodes', '-keyout', key, '-out', request, '-subj', '/CN=gateway 1');
    const extensions = file('leaf.ext', leafExtensions);
    const [root] = fromPem(readFileSync(caPem, 'utf8')).map((der) => parseCertificate(suite, der));
    // ECDSA draws a new nonce each time, so some of these have a high s.
    for (let i = 0; i < (suite.id === 2 ? 6 : 1); i++) {
      openssl('x509', '-req', '-in', request, '-CA', caPem, '-CAkey', caKey, '-CAcreateserial', '-out', leafPem, '-extfile', extensions); // prettier-ignore
      const [leaf] = fromPem(readFileSync(leafPem, 'utf8')).map((der) => parseCertificate(suite, der));
      expect(verifyChain(suite, leaf!, [], [root!], Date.now() / 1000, 'gateway').id).toBe('g-1');
    }
  });

  it.each([
    ['RSA', ['-newkey', 'rsa:2048']],
    ['P-384', ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-384']],
    ['secp256k1', ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:secp256k1']],
    ['Ed448', ['-newkey', 'ed448']],
  ])('makes %s certificates, which are of no suite', (_, newKey) => {
    const made = file('other.pem');
    openssl('req', '-x509', ...newKey, '-nodes', '-keyout', file('other.key'), '-out', made, '-subj', '/CN=x', ...caExtensions); // prettier-ignore
    const [der] = fromPem(readFileSync(made, 'utf8'));
    for (const suite of [suiteX25519, suiteP256]) {
      expect(refusal(() => parseCertificate(suite, der!))).toBe('VerificationError certificate-key-type');
    }
  });
});
