/** Requests for certificates (RFC 2986): who asks has the key, and asks for nothing but a name. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { makeRequest, verifyRequest } from '../../crypto/certificate/request.js';
import { generateSigner } from '../../crypto/keys.js';
import { suiteP256, suiteX25519 } from '../../crypto/suite-node.js';
import { seededRandom } from '../support/neighbourhood.js';
import { refusal as classAndCode } from './refusal.js';

const refusal = (act: () => unknown): string => classAndCode(act).split(' ').at(-1) ?? '';
const subject = { role: 'meter', id: 'kitchen' } as const;

describe.each([suiteX25519, suiteP256])('a request in suite $name', (suite) => {
  const { signer } = generateSigner(suite, seededRandom(`request ${suite.name}`));
  const request = makeRequest(suite, signer, subject);

  it('names its subject and shows that whoever asks has the key', () => {
    expect(verifyRequest(suite, request)).toEqual({ ...subject, publicKey: signer.publicKey });
  });

  it('is refused when any of its bytes is another', () => {
    for (let i = 0; i < request.length; i += 3) {
      const altered = request.map((byte, at) => (at === i ? byte ^ 1 : byte));
      expect(
        refusal(() => verifyRequest(suite, altered)),
        `byte ${i}`,
      ).toMatch(/^(certificate|csr|key)-/);
    }
  });

  it('is refused when another key signed it, or it is of another suite, too large, or no request', () => {
    const thief = generateSigner(suite, seededRandom('thief')).signer;
    const stolen = makeRequest(suite, { ...thief, publicKey: signer.publicKey }, subject);
    expect(refusal(() => verifyRequest(suite, stolen))).toBe('certificate-signature');
    const other = suite === suiteX25519 ? suiteP256 : suiteX25519;
    expect(refusal(() => verifyRequest(other, request))).toBe('certificate-key-type');
    expect(refusal(() => verifyRequest(suite, new Uint8Array(2_001)))).toBe('too-large');
    expect(refusal(() => verifyRequest(suite, new Uint8Array([0x30, 0])))).toBe('certificate-malformed');
  });

  it('is understood by OpenSSL, and one of OpenSSL’s is understood here', () => {
    const folder = mkdtempSync(join(tmpdir(), 'gridring-csr-'));
    onTestFinished(() => {
      rmSync(folder, { recursive: true });
    });
    const [ours, theirs, key] = ['ours', 'theirs', 'key'].map((name) => join(folder, name)) as [string, string, string];
    writeFileSync(ours, request);
    const openssl = (...args: readonly string[]): string =>
      execFileSync('openssl', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
    expect(openssl('req', '-inform', 'DER', '-in', ours, '-noout', '-text')).toContain(
      'URI:urn:gridring:meter:kitchen',
    );
    const algorithm = suite === suiteX25519 ? ['ed25519'] : ['EC', '-pkeyopt', 'ec_paramgen_curve:P-256'];
    openssl('genpkey', '-algorithm', ...algorithm, '-out', key);
    const named = ['-subj', '/CN=any', '-addext', 'subjectAltName=URI:urn:gridring:meter:kitchen'];
    openssl('req', '-new', '-key', key, ...named, '-outform', 'DER', '-out', theirs);
    expect(verifyRequest(suite, new Uint8Array(readFileSync(theirs)))).toMatchObject(subject);
    openssl(
      'req',
      '-new',
      '-key',
      key,
      ...named,
      '-addext',
      'basicConstraints=CA:TRUE',
      '-outform',
      'DER',
      '-out',
      theirs,
    );
    expect(refusal(() => verifyRequest(suite, new Uint8Array(readFileSync(theirs))))).toBe('csr-malformed');
  });
});
