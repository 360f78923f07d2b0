/** A certificate that ends is told of in time. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { toPem } from '../../crypto/certificate/pem.js';
import { suiteX25519 as suite } from '../../crypto/suite-node.js';
import { CertificateWatch } from '../../servients/certificate-watch.js';
import { makeLog } from '../../servients/runtime.js';
import { makeNeighbourhood, nowS } from '../support/neighbourhood.js';

const dayS = 86_400;

it('a certificate that ends is told of once at thirty days, seven, one and the end, and anew when it was renewed', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gridring-watch-'));
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
  });
  const file = join(folder, 'certificate.pem');
  const n = makeNeighbourhood(suite, 2);
  const put = (endS: number): void => {
    writeFileSync(file, toPem(n.certify('meter', 'kitchen', { notAfterS: endS }).certificate.der));
  };
  const told: unknown[] = [];
  const watch = new CertificateWatch(suite, [file], { log: makeLog('silent'), emit: ({ days }) => told.push(days) });
  const endS = nowS + 40 * dayS;
  put(endS);
  for (const daysBefore of [40, 31, 30, 29, 8, 7, 6, 1, 0.5, 0, -3]) watch.look(endS - daysBefore * dayS);
  expect(told).toEqual([30, 7, 1, 0]);
  put(endS + 100 * dayS);
  watch.look(endS);
  watch.look(endS + 75 * dayS);
  expect(told).toEqual([30, 7, 1, 0, 30]);
});

it('one that cannot be read stops nothing', () => {
  const watch = new CertificateWatch(suite, ['/nowhere.pem'], { log: makeLog('silent'), emit: () => undefined });
  expect(() => {
    watch.look(nowS);
  }).not.toThrow();
});
