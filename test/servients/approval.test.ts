/** What the CA's key signs for: the backend says who waits, and is believed in nothing but that. */
import { describe, expect, it } from 'vitest';
import { toBase64Url } from '../../crypto/bytes.js';
import { suiteX25519 as suite } from '../../crypto/suite-node.js';
import { approvalOf, isListed, issuedChain, type Waiting } from '../../servients/lifecycle/approval.js';
import { at } from '../support/forge.js';
import { makeNeighbourhood, nowS } from '../support/neighbourhood.js';

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
    expect(issuedChain({ suite, root, nowS }, device, chain)[0].certHash).toEqual(certificate.certHash);
    expect(() => issuedChain({ suite, root, nowS }, 'urn:gridring:meter:other', chain)).toThrow(/not of/);
    expect(() => issuedChain({ suite, root, nowS }, device, [])).toThrow(/not of/);
    const { root: other } = makeNeighbourhood(suite, 2, 'other');
    expect(() => issuedChain({ suite, root: other, nowS }, device, chain)).toThrow();
  });

  it('is known to be in the list by its hash', () => {
    expect(isListed([certificate], toBase64Url(certificate.der))).toBe(true);
    expect(isListed([certificate], toBase64Url(at(n.meters, 1).certificate.der))).toBe(false);
  });
});
