/** Messages as insiders and outsiders of a deployment could sign them. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { concatBytes, toHex } from '../../crypto/bytes.js';
import { sign1 } from '../../crypto/cose.js';
import { signEnrolment } from '../../crypto/enrolment.js';
import {
  contextOf,
  encodeAnnouncement,
  encodeRekeyRequest,
  type Announcement,
  type RekeyRequest,
} from '../../crypto/ring/messages.js';
import { initCa, type CertificateAuthority } from '../../servients/ca.js';
import { systemNowS } from '../../servients/runtime.js';
import type { Identity } from '../../things/parts.js';
import { firstMembership, identityIn, suiteOf } from '../support/cast.js';
import type { TestDeployment } from '../support/deployment.js';

export const flipLast = (bytes: Uint8Array): Uint8Array => bytes.with(bytes.length - 1, bytes.at(-1)! ^ 1);

/** The same CBOR, but for the array header at a position: its length in a byte of its own, which is longer than need be. */
export const longForm = (bytes: Uint8Array, at = 0): Uint8Array =>
  concatBytes(bytes.subarray(0, at), Uint8Array.of(0x98, bytes[at]! & 0x1f), bytes.subarray(at + 1));

export const coordinatorOf = (d: TestDeployment): Identity => identityIn(d, 'gateway');
export const meterOf = (d: TestDeployment, id: string): Identity => identityIn(d, `meters/${id}`);

export const foreignCa = (d: TestDeployment): CertificateAuthority =>
  initCa(suiteOf(d), join(d.folder, `foreign-${toHex(randomBytes(4))}`), {
    name: 'Foreign',
    nowS: systemNowS(),
    random: randomBytes,
  });

/** What the coordinator would announce next, but for the changes. */
export function announcement(d: TestDeployment, change: Partial<Announcement> = {}): Uint8Array {
  const { list, listHash } = firstMembership(d);
  return encodeAnnouncement({
    gid: list.gid,
    epoch: 2,
    attempt: 1,
    nonce: randomBytes(16),
    coordinator: coordinatorOf(d).certHash,
    listHash,
    suite: suiteOf(d).id,
    reason: 'periodic',
    expiryS: systemNowS() + 60,
    ...change,
  });
}

export const announce = (
  d: TestDeployment,
  change: Partial<Announcement> = {},
  { by = coordinatorOf(d), payload = announcement(d, change) } = {},
): Uint8Array =>
  sign1(suiteOf(d), by.signer, by.kid, contextOf('announcement', change.gid ?? firstMembership(d).list.gid), payload);

export const enrolment = (
  d: TestDeployment,
  device: Identity,
  { td = {}, timeS = systemNowS() }: { readonly td?: object; readonly timeS?: number } = {},
): Uint8Array =>
  signEnrolment(suiteOf(d), device, {
    certificates: device.certificates,
    td: JSON.stringify({
      '@context': 'https://www.w3.org/2022/wot/td/v1.1',
      id: `urn:gridring:meter:${device.id}`,
      title: device.id,
      securityDefinitions: { nosec_sc: { scheme: 'nosec' } },
      security: 'nosec_sc',
      ...td,
    }),
    timeS,
  });

export function rekeyRequest(d: TestDeployment, by: Identity, change: Partial<RekeyRequest> = {}): Uint8Array {
  const { gid } = firstMembership(d).list;
  const request: RekeyRequest = { gid, currentEpoch: 1, reason: 'request', timeS: systemNowS(), ...change };
  return sign1(suiteOf(d), by.signer, by.kid, contextOf('rekeyRequest', gid), encodeRekeyRequest(request));
}
