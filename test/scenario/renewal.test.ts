/** A meter whose certificate is renewed is the same meter: its chain goes on, and nobody else goes on with it. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { toHex } from '../../crypto/bytes.js';
import { parseCertificate, verifyChain, type VerifiedCertificate } from '../../crypto/certificate.js';
import { ChainAudit, isWhole } from '../../crypto/envelope/audit.js';
import { verifyEntryOf, type Entry } from '../../crypto/envelope/entry.js';
import { encodeUpload, sealReading } from '../../crypto/envelope/reading.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { entriesOf, lastEntriesOf } from '../../servients/rest/meter-line.js';
import { at, neighbourhoodOf } from '../support/forge.js';
import { nowS, type Principal } from '../support/neighbourhood.js';
import { invoke, refusalOf, Village } from '../support/village.js';
import { VillageBackend } from '../support/village-backend.js';

const n = neighbourhoodOf(suiteX25519, 4);
const old = at(n.meters, 0);
const fresh = n.certify('meter', old.certificate.id, { seed: 'renewed' });
const second = n.renewed(n.list(), 2, [old, fresh]);

let village: Village;
let backend: VillageBackend;

beforeEach(async () => {
  village = await Village.build(n);
  backend = await VillageBackend.build(village);
  await village.enrolAll();
  await village.epochsAgreed(1);
});
afterEach(async () => {
  backend.close();
  await village.close();
});

const verified = (principal: Principal): VerifiedCertificate =>
  verifyChain(
    n.suite,
    principal.certificate,
    [parseCertificate(n.suite, at(n.certificates, 0))],
    [n.root],
    village.clock.nowS,
  );

/** The backend shows the chain over all certificates; a reader verifies every entry. */
async function chain(line: readonly Principal[] = [old, fresh]): Promise<readonly Entry[]> {
  const certificates = line.map(verified);
  const hashes = line.map(({ certHash }) => certHash);
  const rows = await entriesOf(backend.store.backend, hashes, 0, 1_000, 'any');
  return rows.map(({ message }) => verifyEntryOf(n.suite, certificates, message));
}

function isWholeChain(entries: readonly Entry[]): boolean {
  const audit = new ChainAudit();
  for (const entry of entries) audit.add(entry);
  return isWhole(audit.findings);
}

const delivered = (): Promise<readonly string[]> =>
  backend.delivering(async () => {
    expect((await village.store.outboxStatus()).depth).toBe(0);
  });

async function renew(): Promise<void> {
  await backend.backend.publishMembership(n.bundle(second, [fresh]));
  await village.updateMembership(second, [fresh]);
  await village.enrol(0);
  expect(at(village.residents, 0).meter.groups.renewal?.certificate.certHash).toEqual(fresh.certHash);
  await village.takeCertificate(0, fresh);
  await village.enrol(0);
}

/** Sealed by who has a copy of the old key, in the epoch that it was a member of. */
async function forged(sequence: number, previousHash: Uint8Array): Promise<Uint8Array> {
  const { name } = await village.key(1);
  const key = { name, readingKey: new Uint8Array(32).fill(7) };
  return sealReading(n.suite, old, key, { sequence, previousHash }, new Uint8Array(60)).envelope;
}

describe('a meter whose certificate is renewed', () => {
  it('goes on with its chain under the new one, delivers what it sealed under the old, and joins the next epoch', async () => {
    for (let k = 0; k < 3; k++) await village.read(0);
    const { meter } = at(village.residents, 0);
    await meter.report({
      timeS: village.clock.nowS,
      intervalS: 60,
      energyTotalWh: 99,
      source: 'replay',
      missing: true,
    });
    await renew();
    for (let k = 0; k < 3; k++) await village.read(0);
    await village.epochsAgreed(2);
    await village.read(0);
    await delivered();
    const entries = await chain();
    expect(entries.map(({ sequence }) => sequence)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    const isNew = entries.map((entry) => toHex(entry.meter) === toHex(fresh.certHash));
    expect(isNew.indexOf(true)).toBeGreaterThanOrEqual(4);
    expect(isNew.lastIndexOf(false)).toBe(isNew.indexOf(true) - 1);
    expect(isWholeChain(entries)).toBe(true);
    expect((await village.key(0)).name).toEqual((await village.key(1)).name);
    await village.read(0);
    expect(await at(village.residents, 0).store.heldCount()).toBe(1);
  });

  it('learns of it when it was away meanwhile, and its old certificate does nothing else any more', async () => {
    await village.read(0);
    await village.updateMembership(second, [fresh]);
    const { meter } = at(village.residents, 0);
    await village.enrol(0);
    expect(meter.keyed).toBe(false);
    expect(meter.groups.renewal?.chain.map(toHex)).toEqual([fresh.certificate.der, at(n.certificates, 0)].map(toHex));
    expect(village.changes).toContain('renewed meter-01');
    expect(village.changes).not.toContain('removed meter-01');
  });

  it('stays out under the new certificate too when an operator has revoked it', async () => {
    await village.revoke(0);
    await village.epochsAgreed(2);
    await renew();
    await village.pass(20_000);
    expect((await village.shown(0))['leftOut']).toBe('revoked');
    expect((await village.state(0)).active?.name.epoch ?? 1).toBe(1);
  });
});

describe('a meter that wants to have said something else', () => {
  const later = n.certify('meter', old.certificate.id, { seed: 'later', notBeforeS: nowS + 280 });

  it('hides nothing that it had delivered by beginning anew, or earlier, under its next certificate', async () => {
    for (let k = 0; k < 3; k++) await village.read(0);
    await delivered();
    const honest = await chain();
    await backend.backend.publishMembership(n.bundle(n.renewed(n.list(), 2, [old, later]), [later]));
    const { name } = await village.key(1);
    const key = { name, readingKey: new Uint8Array(32).fill(7) };
    const gateway = verified(n.gateway);
    const upload = (sequence: number, previousHash: Uint8Array): Promise<unknown> => {
      const { envelope } = sealReading(n.suite, later, key, { sequence, previousHash }, new Uint8Array(60));
      return backend.backend.uploadReadings(gateway, encodeUpload({ grants: [], readings: [envelope] }));
    };
    expect(await refusalOf(upload(1, new Uint8Array(32)))).toBe('sequence-conflict');
    expect(await refusalOf(upload(3, at(honest, 1).hash))).toBe('sequence-conflict');
    const last = at(honest, honest.length - 1);
    await upload(last.sequence + 1, last.hash);
    expect((await chain([old, later])).slice(0, honest.length)).toEqual(honest);
  });
});

describe('a thief with the old key', () => {
  it('changes nothing that a reader is shown once the meter has gone on, before the seam or behind it', async () => {
    for (let k = 0; k < 3; k++) await village.read(0);
    await renew();
    for (let k = 0; k < 2; k++) await village.read(0);
    await delivered();
    const honest = await chain();
    const third = at(honest, 2);
    const behind = encodeUpload({ grants: [], readings: [await forged(4, third.hash), await forged(5, third.hash)] });
    await refusalOf(invoke(village.gateway, 'submitReadings', behind)).catch(() => undefined);
    const alone = encodeUpload({ grants: [], readings: [await forged(4, third.hash)] });
    await invoke(village.gateway, 'submitReadings', alone);
    await delivered();
    expect(await chain()).toEqual(honest);
    const again = encodeUpload({ grants: [], readings: [await forged(3, third.previousHash)] });
    expect(await refusalOf(invoke(village.gateway, 'submitReadings', again))).toBe('sequence-conflict');
    const last = await lastEntriesOf(backend.store.backend, [old.certHash, fresh.certHash], 3, 'any');
    expect(last.map(({ sequence }) => sequence)).toEqual([3, 4, 5]);
  });

  it('cannot go on in an epoch that the old certificate was not in', async () => {
    await village.read(0);
    await renew();
    await village.epochsAgreed(2);
    const upload = encodeUpload({ grants: [], readings: [await forged(9, new Uint8Array(32))] });
    expect(await refusalOf(invoke(village.gateway, 'submitReadings', upload))).toBe('not-listed');
  });
});

describe('a backend that hides or changes something at the seam', () => {
  it('is found out: the first entry under the new certificate holds the hash of the last under the old', async () => {
    for (let k = 0; k < 3; k++) await village.read(0);
    await renew();
    await village.read(0);
    await delivered();
    const entries = await chain();
    expect(isWholeChain(entries)).toBe(true);
    expect(isWholeChain(entries.filter(({ sequence }) => sequence !== 3))).toBe(false);
    expect(isWholeChain(entries.filter((entry) => toHex(entry.meter) === toHex(fresh.certHash)))).toBe(false);
    const swapped = { ...at(entries, 2), hash: new Uint8Array(32) };
    expect(isWholeChain([...entries.slice(0, 2), swapped, ...entries.slice(3)])).toBe(false);
  });
});

describe('a list', () => {
  const successors = ['a', 'b'].map((seed) => n.certify('meter', old.certificate.id, { seed }));

  it('names one successor of a certificate, and never beside it', () => {
    const [entry] = second.entries.filter(({ replaced }) => replaced);
    const beside = { ...second, entries: [...second.entries, { ...entry!, certHash: old.certHash, replaced: [] }] };
    const twice = {
      ...second,
      entries: [...second.entries, { ...entry!, certHash: at(successors, 0).certHash }],
    };
    for (const list of [beside, twice]) {
      expect(() => n.membership(list, [fresh, ...successors])).toThrow(/replaced/);
    }
  });

  it('brings back nobody who was replaced, and puts nobody else in the place: not members, gateway or backend take it', async () => {
    await renew();
    const back = n.list({ version: 3 });
    const another = n.renewed(n.list(), 3, [old, at(successors, 0)]);
    const forgotten = n.list({ version: 3, without: [old], add: [fresh] });
    for (const list of [back, another, forgotten]) {
      const bundle = n.bundle(list, [fresh, ...successors]);
      expect(await refusalOf(village.updateMembership(list, [fresh, ...successors]))).toBe('membership-succession');
      expect(await refusalOf(backend.backend.publishMembership(bundle))).toBe('membership-succession');
      expect(await refusalOf(invoke(at(village.residents, 1).meter, 'updateMembership', bundle))).toBe(
        'membership-succession',
      );
    }
    const next = n.renewed(second, 3, [fresh, at(successors, 1)]);
    await village.updateMembership(next, successors);
    expect(at(village.residents, 1).meter.groups.ownLine).toHaveLength(1);
  });
});
