/** A certificate takes another's place on disk: whole or not at all, in whatever instant the power goes. */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { toHex } from '../../crypto/bytes.js';
import { suiteX25519 as suite } from '../../crypto/suite-node.js';
import { certify, initCa, issue, type CertificateAuthority } from '../../servients/ca.js';
import { readIdentity, writeIdentity } from '../../servients/identity-files.js';
import { isDue } from '../../servients/renewal.js';
import { finishRenewal, isRenewing, nextSigner, takeCertificate } from '../../servients/renewal-files.js';
import { nowS } from '../support/neighbourhood.js';

const folder = mkdtempSync(join(tmpdir(), 'gridring-renewal-'));
const files = { certificate: join(folder, 'certificate.pem'), key: join(folder, 'key.pem') };
const next = { certificate: `${files.certificate}.next`, key: `${files.key}.next` };
const subject = { role: 'meter', id: 'kitchen', nowS, days: 90, random: randomBytes } as const;
let ca: CertificateAuthority;

beforeAll(() => {
  ca = initCa(suite, join(folder, 'ca'), { name: 'Test', nowS, random: randomBytes });
});
beforeEach(() => {
  for (const path of Object.values(next)) rmSync(path, { force: true });
  writeIdentity(suite, files, issue(ca, subject));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const keyInUse = (): string => toHex(readIdentity(suite, files).signer.publicKey);

describe('a device that renews its certificate', () => {
  it('makes its next key once, for itself alone, and goes on with the one that it has', () => {
    const before = keyInUse();
    expect(isRenewing(files)).toBe(false);
    const { publicKey } = nextSigner(suite, files, randomBytes);
    expect(nextSigner(suite, files, randomBytes).publicKey).toEqual(publicKey);
    expect([isRenewing(files), keyInUse()]).toEqual([true, before]);
    expect(statSync(next.key).mode & 0o777).toBe(0o600);
  });

  it('has the next key and certificate together, wherever it was cut off', () => {
    for (const cut of ['nowhere', 'after the certificate', 'after the key']) {
      const { publicKey } = nextSigner(suite, files, randomBytes);
      const chain = certify(ca, publicKey, subject);
      const [old, oldKey] = [readFileSync(files.certificate), readFileSync(files.key)];
      const nextKey = readFileSync(next.key);
      takeCertificate(suite, files, chain);
      if (cut !== 'nowhere') {
        renameSync(files.certificate, next.certificate);
        writeFileSync(files.certificate, old);
        if (cut === 'after the certificate') {
          writeFileSync(files.key, oldKey);
          writeFileSync(next.key, nextKey, { mode: 0o600 });
        }
        finishRenewal(suite, files);
      }
      expect([cut, keyInUse()]).toEqual([cut, toHex(publicKey)]);
      expect(Object.values(next).filter((path) => existsSync(path))).toEqual([]);
    }
  });

  it('takes a certificate for the same key as well, and its own next key stays', () => {
    const before = keyInUse();
    nextSigner(suite, files, randomBytes);
    const { signer, certHash } = readIdentity(suite, files);
    takeCertificate(suite, files, certify(ca, signer.publicKey, subject));
    expect([keyInUse(), isRenewing(files)]).toEqual([before, true]);
    expect(readIdentity(suite, files).certHash).not.toEqual(certHash);
  });

  it('takes none for a key that it has not', () => {
    const before = readFileSync(files.certificate);
    nextSigner(suite, files, randomBytes);
    expect(() => {
      takeCertificate(suite, files, issue(ca, subject).chain);
    }).toThrow(/not here/);
    expect(readFileSync(files.certificate)).toEqual(before);
  });

  it('asks when a third of the certificate’s life is left', () => {
    const life = { notBeforeS: 0, notAfterS: 900 };
    expect([599, 600, 1_000].map((now) => isDue(life, now))).toEqual([false, true, true]);
  });
});
