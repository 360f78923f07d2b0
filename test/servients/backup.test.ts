import { generateX25519Identity } from 'age-encryption';
import { readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { concatBytes, equalBytes } from '../../crypto/bytes.js';
import { parseReading } from '../../crypto/envelope/reading.js';
import { decodeSealingState, encodeSealingState } from '../../crypto/envelope/sealing.js';
import { limits } from '../../crypto/limits.js';
import { announce } from '../../crypto/ring/coordinator.js';
import { decodeMemberState, encodeMemberState } from '../../crypto/ring/member-state.js';
import { ArchiveWriter, encodeArchiveRecord, readArchive, type Row } from '../../servients/backup/archive.js';
import { openFile, sealFile } from '../../servients/backup/sealing.js';
import { openDataFolder } from '../../servients/data-folder.js';
import { openBackendStore } from '../../servients/stores/sqlite/backend-store.js';
import { openGatewayStore } from '../../servients/stores/sqlite/gateway-store.js';
import { openMeterStore } from '../../servients/stores/sqlite/meter-store.js';
import { migrationsOf } from '../../servients/stores/sqlite/migrate.js';
import { Meter } from '../../things/meter.js';
import type { StoredItem } from '../../things/stores.js';
import { at, neighbourhoodOf, suites } from '../support/forge.js';
import { nowS, seededRandom } from '../support/neighbourhood.js';
import { activeKey, agree } from '../support/ring.js';
import { makeRole } from '../support/roles.js';
import { agreed, fillBackend, loadBackend, makeBackups, n, refusedWith, silent } from './backups.js';
import { TestMeter } from './rest-meters.js';

const backups = await makeBackups();
const { folder, protection, opening, restore, newPath } = backups;
afterAll(backups.remove);

async function recordsIn(file: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of openFile(file, opening)) chunks.push(chunk);
  return concatBytes(...chunks);
}

describe('the backup of a backend', () => {
  const role = makeRole(n, 'backend', newPath());
  let file = '';
  const device = 'urn:gridring:meter:kitchen';
  const invitation = {
    kind: 'invitation' as const,
    ...{ proof: new Uint8Array(32), certificates: null, createdS: nowS, expiresS: nowS + 3_600 },
  };
  beforeAll(async () => {
    const stores = openBackendStore(role.database);
    await fillBackend(stores);
    await stores.enrolments.putEnrolment({ device, ...invitation, request: null });
    await stores.enrolments.putEnrolment({ device: `${device}-2`, ...invitation, request: new Uint8Array(5) });
    file = await backups.backUp('backend', role);
    stores.close();
  });

  it('is made while the backend writes, and holds all of one moment', async () => {
    const busy = makeRole(n, 'backend', newPath());
    const stores = openBackendStore(busy.database);
    const upload = await fillBackend(stores);
    const backup = backups.backUp('backend', busy);
    for (let i = 0; i < 10; i++) {
      await upload();
      await new Promise(setImmediate);
    }
    const { checked } = await restore(await backup);
    stores.close();
    expect(checked?.gaps).toBe(0);
    expect([0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55].map((count) => 2 * count)).toContain(checked?.readings);
  });

  it('gives back on a clean machine what was there, and a backend that goes on from it', async () => {
    const to = newPath();
    const { role: name, checked, config } = await restore(file, { to });
    expect(name).toBe('backend');
    expect(checked).toMatchObject({ lists: 1, epochs: 1, readings: 10, gaps: 0, unlisted: 0 });
    expect(config).toBe(join(to, 'config.json'));
    expect(statSync(join(to, 'key.pem')).mode & 0o077).toBe(0);
    const data = openDataFolder(join(to, 'data'), 'backend', n.suite.name);
    const stores = openBackendStore(data.databasePath);
    const { backend } = stores;
    expect((await loadBackend(stores)).memberships).toHaveLength(1);
    expect(await backend.entries(at(n.meters, 1).certHash, 0, 100)).toHaveLength(5);
    expect(await backend.grants(at(n.meters, 0).certHash, n.utility.certHash)).toHaveLength(1);
    // A code that was used since counts for nobody; what a device has asked goes on waiting.
    const enrolments = await stores.enrolments.enrolments('', 10);
    expect(enrolments.map((enrolment) => enrolment.device)).toEqual([`${device}-2`]);
    stores.close();
    data.close();
  });

  it('is refused wherever a byte of it was altered, with nothing left behind', async () => {
    const bytes = readFileSync(file);
    const header = bytes.indexOf('\n---') + 60;
    for (const position of [30, 100, header, bytes.length - 20_000, bytes.length - 1]) {
      const altered = `${newPath()}.age`;
      const copy = Buffer.from(bytes);
      copy[position] = (copy[position] ?? 0) ^ 1;
      writeFileSync(altered, copy);
      const before = readdirSync(folder);
      expect(['backup-altered', 'backup-key-wrong', 'backup-malformed', 'backup-truncated']).toContain(
        await refusedWith(restore(altered)),
      );
      expect(readdirSync(folder)).toEqual(before);
    }
    const last = Buffer.from(bytes);
    last[bytes.length - 1] = (last.at(-1) ?? 0) ^ 1;
    const altered = `${newPath()}.age`;
    writeFileSync(altered, last);
    expect(await refusedWith(restore(altered))).toBe('backup-altered');
  });

  it('is known as cut off at whatever length', async () => {
    const { length } = readFileSync(file);
    for (const bytes of [200, 70_000, length - 16, length - 1]) {
      const cut = `${newPath()}.age`;
      writeFileSync(cut, readFileSync(file));
      truncateSync(cut, bytes);
      expect(await refusedWith(restore(cut))).toBe('backup-truncated');
    }
  });

  it('opens with no other key, and with no passphrase', async () => {
    expect(await refusedWith(restore(file, { opening: { identities: [await generateX25519Identity()] } }))).toBe(
      'backup-key-wrong',
    );
    expect(await refusedWith(restore(file, { opening: { passphrase: 'guessed' } }))).toBe('backup-key-wrong');
    expect(await refusedWith(restore(file, { opening: { identities: ['guessed'] } }))).toBe('identity-unusable');
  });

  it('goes into no folder that holds anything', async () => {
    expect(await refusedWith(restore(file, { to: folder }))).toBe('folder-not-empty');
  });

  it('can be verified without keeping anything', async () => {
    const before = readdirSync(folder);
    const { checked, config } = await restore(file, { to: undefined });
    expect(config).toBeUndefined();
    expect(checked?.readings).toBe(10);
    expect(readdirSync(folder)).toEqual(before);
  });

  it('is refused when a row in it was forged before it was sealed', async () => {
    const forge = (change: (row: Row) => Row, table: string) => rewritten(file, change, table);
    const message = await forge((row) => row.map((cell) => (isLong(cell) ? altered(cell) : cell)), 'reading');
    expect(await refusedWith(restore(message))).toBe('backup-unverified');
    const sequence = await forge((row) => [row[0] ?? null, Number(row[1]) + 100, ...row.slice(2)], 'reading');
    expect(await refusedWith(restore(sequence))).toBe('backup-unverified');
    const list = await forge((row) => row.map((cell) => (isLong(cell) ? altered(cell) : cell)), 'membership_list');
    expect(await refusedWith(restore(list))).toBe('backup-unverified');
  });

  it('of a newer version is refused as such', async () => {
    const writer = new ArchiveWriter();
    const header = { kind: 'header', role: 'backend', suite: 'x25519', createdS: nowS, software: '9.0.0' } as const;
    const schema = migrationsOf('backend').length + 1;
    const newerTables = [writer.record(header), writer.record({ kind: 'store', place: 'data', schema }), writer.end()];
    expect(await refusedWith(restore(await sealed(newerTables)))).toBe('backup-version');
    const newerFormat = encodeArchiveRecord(header);
    newerFormat[newerFormat.indexOf(1, 16)] = 2;
    expect(await refusedWith(restore(await sealed([framed(newerFormat), new Uint8Array(65_536)])))).toBe(
      'backup-version',
    );
  });

  it('leads to no file outside of its folder', async () => {
    for (const name of ['../key.pem', '/etc/passwd', 'a/b/c.pem', 'a/../b', '.hidden']) {
      const writer = new ArchiveWriter();
      const header = { kind: 'header', role: 'backend', suite: 'x25519', createdS: nowS, software: '0' } as const;
      const records = [writer.record(header), writer.record({ kind: 'file', name, content: new Uint8Array(1) })];
      expect(await refusedWith(restore(await sealed([...records, writer.end()])))).toBe('backup-name');
    }
  });
});

const isLong = (cell: Row[number]): cell is Uint8Array => cell instanceof Uint8Array && cell.length > 100;
const altered = (bytes: Uint8Array): Uint8Array => bytes.map((byte, i) => (i === bytes.length - 1 ? byte ^ 1 : byte));
const framed = (bytes: Uint8Array): Uint8Array => concatBytes(Uint8Array.of(0x58, bytes.length), bytes);

async function sealed(chunks: readonly Uint8Array[]): Promise<string> {
  const whole = concatBytes(...chunks);
  const path = `${newPath()}.age`;
  const padding = new Uint8Array((65_536 - (whole.length % 65_536)) % 65_536);
  await sealFile(path, oneOf(concatBytes(whole, padding)), protection);
  return path;
}

async function* oneOf<T>(item: T): AsyncGenerator<T> {
  yield item;
}

/** The same backup with rows of a table changed, and all counts and hashes right. */
async function rewritten(file: string, change: (row: Row) => Row, table: string): Promise<string> {
  const writer = new ArchiveWriter();
  const out: Uint8Array[] = [];
  let open: { readonly name: string; readonly columns: readonly string[]; readonly rows: Row[] } | undefined;
  for await (const record of readArchive(openFile(file, opening))) {
    if (record.kind === 'table') open = { ...record, rows: [] };
    else if (record.kind === 'rows') open?.rows.push(...record.rows);
    else if (record.kind === 'tableEnd' && open) {
      const rows = open.name === table ? open.rows.map(change) : open.rows;
      for await (const bytes of writer.table(open.name, open.columns, each(rows))) out.push(bytes);
    } else if (record.kind === 'end') out.push(writer.end());
    else if (record.kind !== 'tableEnd') out.push(writer.record(record));
  }
  return sealed(out);
}

async function* each<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items;
}

describe('the backup of a meter', () => {
  const suite = at(suites, 1);
  const town = neighbourhoodOf(suite, 3);
  const { players } = agree(town, { epoch: 7 });
  const player = at(players, 0);
  const meter = new TestMeter(town, player);

  /** A backup at reading 3, of a meter that went on to reading 8. */
  async function backedUpAtThree() {
    const role = makeRole(town, 'meter', newPath());
    const store = openMeterStore(role.database);
    await store.saveMembership(town.gid, town.bundle(town.list()), encodeMemberState(player.state));
    const { grants, readings } = meter.measure(3);
    const items = [
      ...grants.map((message) => ({ kind: 'grant', message }) as const),
      ...readings.map((message) => ({ kind: 'reading', message }) as const),
    ];
    await store.saveSealing(encodeSealingState(meter.state), items, nowS);
    const file = await backups.backUp('meter', role);
    store.close();
    return { file, later: meter.measure(5).readings };
  }

  it('holds no key of an epoch and no reading key', async () => {
    const plaintext = Buffer.from(await recordsIn((await backedUpAtThree()).file));
    const { groupKey, groupSeed, exporter } = activeKey(player);
    const secrets = [groupKey, groupSeed, exporter, ...meter.readingKeys];
    expect(secrets.length).toBeGreaterThan(3);
    for (const secret of secrets) expect(plaintext.includes(Buffer.from(secret))).toBe(false);
  });

  it('never lets a sequence or a reading key be used again, however far behind it is', async () => {
    const { file, later } = await backedUpAtThree();
    const used = later.map((message) => parseReading(suite, message));
    const to = newPath();
    const { checked } = await restore(file, { to, nowS: nowS + 60 });
    expect(checked).toMatchObject({ lists: 1, readings: 3, unlisted: 0 });
    const store = openMeterStore(join(to, meter.id, 'data/meter.db'));
    const sealing = decodeSealingState((await store.loadSealing()) ?? new Uint8Array(0));
    const member = decodeMemberState((await store.loadMember(town.gid)) ?? new Uint8Array(0));
    store.close();
    expect(member).toMatchObject({ highWater: player.state.highWater, active: null, previous: null });
    expect(member.round).toEqual({ kind: 'idle' });
    const restored = new TestMeter(town, player, { seed: 'after' });
    restored.state = sealing;
    const fresh = restored.measure(5).readings.map((message) => parseReading(suite, message));
    for (const reading of fresh) {
      for (const before of used) {
        expect(reading.sequence).toBeGreaterThan(before.sequence);
        expect(equalBytes(reading.keyHash, before.keyHash)).toBe(false);
      }
    }
    // It says which was the last reading in the backup.
    const lastKept = parseReading(suite, at(later, 0)).previousHash;
    expect(fresh[0]?.previousHash).toEqual(lastKept);
  });

  it('restored a second time goes on above the first, or not at all', async () => {
    const { file } = await backedUpAtThree();
    const next = async (restoredS: number): Promise<number> => {
      const to = newPath();
      await restore(file, { to, nowS: restoredS, verify: false });
      const store = openMeterStore(join(to, meter.id, 'data/meter.db'));
      const state = decodeSealingState((await store.loadSealing()) ?? new Uint8Array(0));
      store.close();
      return state.nextSequence;
    };
    expect(await next(nowS + 2)).toBeGreaterThan((await next(nowS + 1)) + 1_000_000);
    const ahead = makeRole(town, 'meter', newPath());
    const store = openMeterStore(ahead.database);
    await store.saveSealing(encodeSealingState({ ...meter.state, nextSequence: (nowS + 9) * 2 ** 20 }), [], nowS);
    const fromLater = await backups.backUp('meter', ahead);
    store.close();
    expect(await refusedWith(restore(fromLater, { verify: false }))).toBe('clock-behind');
  });

  it('gives a meter that answers no announcement while one may last that it answered before', async () => {
    const { file } = await backedUpAtThree();
    const to = newPath();
    await restore(file, { to });
    const data = openDataFolder(join(to, meter.id, 'data'), 'meter', suite.name);
    const store = openMeterStore(data.databasePath);
    let clockS = nowS;
    const { certificate, certHash, kid, signer } = at(town.meters, 0);
    const certificates = [certificate.der, at(town.certificates, 0)];
    const restored = await Meter.load({
      ...{ suite, trustedRoots: [town.root], log: silent, version: 'test', nowS: () => clockS, store },
      identity: { id: certificate.id, certHash, kid, signer, certificates },
      random: seededRandom('restored'),
      readingIntervalS: 60,
      sourceName: 'test',
      restoredS: data.restoredS,
    });
    const announcement = (epoch: number, expiryS: number): Uint8Array =>
      announce(town.coordinatorContext(), { epoch, attempt: 1, reason: 'periodic', expiryS }).announcementMessage;
    const ask = (message: Uint8Array) => refusedWith(restored.groups.take('announcement', message));
    const answeredBefore = announcement(8, nowS + 780);
    expect(await ask(answeredBefore)).toBe('restored-lately');
    clockS = nowS + limits.restoredSilenceS;
    expect(await ask(answeredBefore)).toBe('announcement-expired');
    expect(await ask(announcement(7, clockS + 300))).toBe('epoch-stale');
    expect(await ask(announcement(9, clockS + 300))).toBe('done');
    store.close();
    data.close();
  });
});

function storedItem(message: Uint8Array): StoredItem {
  const { kind, meter, sequence, gid, epoch, attempt, hash, previousHash } = parseReading(n.suite, message);
  return { kind, meter, sequence, gid, epoch, attempt, hash, previousHash, message };
}

describe('the backup of a gateway', () => {
  it('gives a gateway that announces above what it may have announced since, and below what members refuse', async () => {
    const role = makeRole(n, 'gateway', newPath());
    const store = openGatewayStore(role.database);
    const { listHash } = n.membership();
    await store.saveMembership(n.gid, { version: 1, revision: 0 }, listHash, n.bundle(n.list()));
    await store.saveAnnounced(n.gid, 5, 3);
    await store.saveRecord({
      gid: n.gid,
      epoch: 5,
      attempt: 1,
      listHash,
      record: agreed.published.record,
      agreedS: nowS,
    });
    const { readings } = new TestMeter(n, at(agreed.players, 0)).measure(2);
    await store.accept(
      readings.map((message) => storedItem(message)),
      nowS,
    );
    const file = await backups.backUp('gateway', role);
    store.close();
    const to = newPath();
    const { checked } = await restore(file, { to });
    expect(checked).toMatchObject({ lists: 2, epochs: 1, readings: 2 });
    const restored = openGatewayStore(join(to, 'data/gateway.db'));
    const announced = await restored.loadAnnounced(n.gid);
    restored.close();
    expect(announced?.epoch).toBeGreaterThan(5 + 365);
    expect(announced?.epoch).toBeLessThan(5 + limits.epochAhead);
  });
});
