/** What the CA's key signs for: the backend says who waits, and is believed in nothing but that. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { toBase64Url } from '../../crypto/bytes.js';
import { parseCertificate, serverNamesOf, type LeafCertificate } from '../../crypto/certificate.js';
import { makeRequest } from '../../crypto/certificate/request.js';
import { generateSigner } from '../../crypto/keys.js';
import { signRenewal } from '../../crypto/renewal.js';
import { suiteX25519 as suite } from '../../crypto/suite-node.js';
import { initCa, issue } from '../../servients/ca.js';
import { approvalOf, isListed, issuedChain, renewalsOf, type Waiting } from '../../servients/lifecycle/approval.js';
import { shownBackend } from '../../servients/lifecycle/rollover.js';
import { at } from '../support/forge.js';
import { makeNeighbourhood, nowS, seededRandom, type Principal } from '../support/neighbourhood.js';

const n = makeNeighbourhood(suite, 2);
const waits = (device: string, state: Waiting['state'] = 'waiting'): Waiting => ({
  ...{ device, kind: 'invitation', state },
});
const devicesOf = (enrolments: readonly Waiting[], ...ids: readonly string[]) => {
  const { due, issued } = approvalOf(enrolments, ids);
  return { due: due.map(({ device }) => device), issued: issued.map(({ device }) => device) };
};

describe('approving all that wait', () => {
  it('certifies meters only: whoever may invite devices makes nobody an operator, gateway or backend on the side', () => {
    const asked = ['meter:kitchen', 'operator:mallory', 'gateway:mallory', 'backend:mallory', 'authority:mallory'];
    const enrolments = [
      ...asked.map((name) => waits(`urn:gridring:${name}`)),
      waits('urn:gridring:meter:x', 'invited'),
    ];
    expect(devicesOf(enrolments)).toEqual({ due: ['urn:gridring:meter:kitchen'], issued: [] });
  });

  it('takes nobody back into the list who was certified before, and may have been removed since', () => {
    const enrolments = [waits('urn:gridring:meter:stolen', 'issued'), waits('urn:gridring:meter:kitchen')];
    expect(devicesOf(enrolments)).toEqual({
      due: ['urn:gridring:meter:kitchen'],
      issued: ['urn:gridring:meter:stolen'],
    });
    expect(devicesOf(enrolments, 'stolen')).toEqual({ due: ['urn:gridring:meter:stolen'], issued: [] });
  });
});

describe('approving a device by name', () => {
  const enrolments = ['meter:a', 'operator:a', 'authority:a'].map((name) => waits(`urn:gridring:${name}`));

  it('means the meter of that id, and another device by its whole URN', () => {
    expect(devicesOf(enrolments, 'a').due).toEqual(['urn:gridring:meter:a']);
    expect(devicesOf(enrolments, 'urn:gridring:operator:a').due).toEqual(['urn:gridring:operator:a']);
  });

  it('makes no authority, whatever the backend shows', () => {
    expect(devicesOf(enrolments, 'urn:gridring:authority:a').due).toEqual([]);
  });
});

describe('a certificate that the backend says was issued before', () => {
  const { root } = n;
  const { certificate } = at(n.meters, 0);
  const chain = [certificate.der, at(n.certificates, 0)];
  const device = `urn:gridring:meter:${certificate.id}`;

  it('is that of the device, under the deployment’s own root', () => {
    expect(issuedChain({ suite, trustedRoots: [root], nowS }, device, chain)[0].certHash).toEqual(certificate.certHash);
    expect(() => issuedChain({ suite, trustedRoots: [root], nowS }, 'urn:gridring:meter:other', chain)).toThrow(
      /not of/,
    );
    expect(() => issuedChain({ suite, trustedRoots: [root], nowS }, device, [])).toThrow(/not of/);
    const { root: other } = makeNeighbourhood(suite, 2, 'other');
    expect(() => issuedChain({ suite, trustedRoots: [other], nowS }, device, chain)).toThrow();
  });

  it('is known to be in the list by its hash', () => {
    expect(isListed([certificate], toBase64Url(certificate.der))).toBe(true);
    expect(isListed([certificate], toBase64Url(at(n.meters, 1).certificate.der))).toBe(false);
  });
});

describe('approving renewals', () => {
  const holder = at(n.meters, 0);
  const list = n.list();
  const check = { suite, trustedRoots: [n.root], nowS, list };
  const asks = (by: Principal, device = `urn:gridring:${by.certificate.role}:${by.certificate.id}`): Waiting => {
    const { signer } = generateSigner(suite, seededRandom('next'));
    const { role, id } = by.certificate;
    const certificates = [by.certificate.der, at(n.certificates, 0)];
    const request = makeRequest(suite, signer, { role, id });
    const message = toBase64Url(signRenewal(suite, by, { certificates, request, timeS: nowS }));
    return { device, kind: 'renewal', state: 'waiting', message };
  };

  it('signs for holders of certificates of the list, and for backends that are named, by their own signatures', () => {
    const { due, refused } = renewalsOf(check, [asks(holder), asks(n.gateway), asks(n.backend)], []);
    expect(due.map(({ renewal }) => renewal.holder.id)).toEqual(['meter-01', 'gw-1']);
    expect(refused).toEqual([{ device: 'urn:gridring:backend:backend-1', code: 'renewal-unnamed' }]);
    expect(renewalsOf(check, [asks(n.backend)], ['urn:gridring:backend:backend-1']).due).toHaveLength(1);
    expect(renewalsOf(check, [asks(holder), asks(n.gateway)], ['meter-01']).due).toHaveLength(1);
  });

  it('signs for no key that a backend or a stranger puts in the holder’s place, and lets it keep nobody waiting', () => {
    const stranger = n.certify('meter', 'meter-01', { seed: 'stranger' });
    const thief = { ...holder, signer: stranger.signer };
    const authority = asks(n.authority);
    const moved = asks(at(n.meters, 1), 'urn:gridring:meter:meter-01');
    const waiting = [asks(stranger), asks(thief), authority, moved, asks(n.gateway)];
    const { due, refused } = renewalsOf(check, waiting, []);
    expect(due.map(({ renewal }) => renewal.holder.id)).toEqual(['gw-1']);
    expect(refused.map(({ code }) => code)).toEqual([
      ...['not-listed', 'signature-invalid', 'not-listed', 'certificate-of-another'],
    ]);
  });

  it('takes the names of a host from the certificate that is replaced', () => {
    const names = { dnsNames: ['backend.example'], ipAddresses: ['192.0.2.7', '2001:db8::7'] };
    const ca = initCa(suite, mkdtempSync(join(tmpdir(), 'gridring-ca-')), { name: 'Names', nowS, random: randomBytes });
    const subject = { role: 'backend', id: 'b', servedAs: names, nowS, days: 1, random: randomBytes } as const;
    const leaf = parseCertificate(suite, at(issue(ca, subject).chain, 0)) as LeafCertificate;
    expect(serverNamesOf(leaf)).toEqual(names);
  });
});

describe('certifying a backend under the next root', () => {
  const check = { suite, trustedRoots: [n.root], nowS };
  const chainOf = ({ certificate }: Principal, from = n) => [certificate.der, at(from.certificates, 0)];

  it('is for the certificate of a backend that verifies: what another shows of itself gives nobody a key or a role', () => {
    expect(shownBackend(check, chainOf(n.backend))[0].certHash).toEqual(n.backend.certHash);
    const mallory = makeNeighbourhood(suite, 2, 'mallory');
    expect(() => shownBackend(check, chainOf(mallory.backend, mallory))).toThrow(/neither trusted/);
    expect(() => shownBackend(check, chainOf(mallory.backend))).toThrow();
    expect(() => shownBackend(check, chainOf(n.authority))).toThrow(/role authority/);
    expect(() => shownBackend(check, [])).toThrow(/no certificate/);
  });
});
