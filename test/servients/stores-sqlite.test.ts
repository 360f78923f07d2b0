/** What holds for the SQLite files whatever is in them. */
import { copyFileSync, openSync, readFileSync, readdirSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from '@photostructure/sqlite';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { concatBytes } from '../../crypto/bytes.js';
import { SetupError, UnavailableError } from '../../crypto/errors.js';
import { openBackendStore } from '../../servients/stores/sqlite/backend-store.js';
import type { Closable } from '../../servients/stores/sqlite/database.js';
import { openGatewayStore } from '../../servients/stores/sqlite/gateway-store.js';
import { openMeterStore } from '../../servients/stores/sqlite/meter-store.js';
import { migrate, migrationsOf, type StoreRole } from '../../servients/stores/sqlite/migrate.js';
import { storeError } from '../../servients/stores/sqlite/store-error.js';
import { bytes, gid, nowS, reading, readings } from './stores/samples.js';
import { makeTemporaryFolder, removeFolder } from './stores/sqlite-places.js';

let folder: string;
let path: string;
beforeEach(() => {
  folder = makeTemporaryFolder();
  path = join(folder, 'store.db');
});
afterEach(() => {
  vi.useRealTimers();
  removeFolder(folder);
});

const open = { meter: openMeterStore, gateway: openGatewayStore, backend: openBackendStore };
const roles: readonly StoreRole[] = ['meter', 'gateway', 'backend'];

/** Opens a store and writes something. */
const openAndWrite: Readonly<Record<StoreRole, () => Promise<Closable>>> = {
  meter: async () => {
    const store = openMeterStore(path);
    await store.saveMember(bytes(16), bytes(10));
    return store;
  },
  gateway: async () => {
    const store = openGatewayStore(path);
    await store.saveAnnounced(bytes(16), 1, 0);
    return store;
  },
  backend: async () => {
    const store = openBackendStore(path);
    const list = { version: 1, revision: 0, listHash: bytes(32), publishedS: nowS };
    await store.backend.saveMembership(bytes(16), list, bytes(10));
    return store;
  },
};

/** Runs SQL on the file as another program would. */
function runSql(sql: string): void {
  const connection = new DatabaseSync(path);
  connection.exec(sql);
  connection.close();
}

function errorOf(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  return undefined;
}

describe.each(roles)('the database of a %s', (role) => {
  it('can be read by its owner alone, and so can its journals', async () => {
    const store = await openAndWrite[role]();
    const modes = readdirSync(folder).map((name) => [name, statSync(join(folder, name)).mode & 0o777]);
    store.close();
    expect(Object.fromEntries(modes)).toEqual({ 'store.db': 0o600, 'store.db-wal': 0o600, 'store.db-shm': 0o600 });
  });

  it('is refused to every other role, and left as it was', () => {
    open[role](path).close();
    const before = readFileSync(path);
    for (const other of roles.filter((name) => name !== role)) {
      const error = errorOf(() => open[other](path));
      expect(error).toBeInstanceOf(SetupError);
      expect(error).toMatchObject({ code: 'data-other-role', message: expect.stringContaining(path) as string });
    }
    expect(readFileSync(path).equals(before)).toBe(true);
  });

  it('is refused when a newer version has written it', () => {
    open[role](path).close();
    runSql('PRAGMA user_version = 999');
    const error = errorOf(() => open[role](path));
    expect(error).toBeInstanceOf(SetupError);
    expect(error).toMatchObject({ code: 'data-version', message: expect.stringContaining('update') as string });
  });

  it('is refused as damaged when it is no database, or one with a torn schema', () => {
    writeFileSync(path, 'gridring '.repeat(1_000));
    expect(errorOf(() => open[role](path))).toMatchObject({ code: 'data-corrupt' });
    removeFolder(path);
    open[role](path).close();
    writeSync(openSync(path, 'r+'), Buffer.alloc(500, 0xff), 0, 500, 100);
    const error = errorOf(() => open[role](path));
    expect(error).toBeInstanceOf(SetupError);
    expect(error).toMatchObject({ code: 'data-corrupt' });
  });
});

it('an epoch that an earlier backend kept without endorsement is endorsed when its record comes again', async () => {
  const [gid, listHash, th2] = [bytes(16), bytes(32), bytes(32)];
  const connection = new DatabaseSync(path);
  migrate(connection, path, 'backend', migrationsOf('backend').slice(0, 2));
  connection.prepare('INSERT INTO membership_list VALUES (?, 1, 0, ?, ?)').run(gid, listHash, bytes(10));
  connection
    .prepare(`INSERT INTO epoch VALUES (?, 7, 1, ?, ?, 3, 'founding', ?, ?)`)
    .run(gid, th2, listHash, nowS, bytes(100));
  connection.close();
  const store = openBackendStore(path);
  const { backend } = store;
  expect(await backend.membershipLists(gid)).toMatchObject([{ version: 1, publishedS: nowS }]);
  expect(await backend.loadEpoch(gid, 7, 1)).toMatchObject({ endorsement: null });
  const [row] = await backend.epochs(gid, 1);
  const endorsement = bytes(100);
  expect(await backend.saveEpoch(row!, { record: bytes(100), endorsement })).toEqual({ endorsement, fresh: false });
  expect(await backend.loadEpoch(gid, 7, 1)).toMatchObject({ endorsement });
  store.close();
});

it.each(migrationsOf('backend').flatMap((_, i) => (i < 2 ? [] : [i + 1])))(
  'a backend’s database of version %i is brought forward with what is in it',
  async (version) => {
    const connection = new DatabaseSync(path);
    migrate(connection, path, 'backend', migrationsOf('backend').slice(0, version));
    const [gid, meter, listHash, bundle] = [bytes(16), bytes(32), bytes(32), bytes(10)];
    const [one, two, three] = readings(meter, 1, 3);
    connection.prepare('INSERT INTO membership_list VALUES (?, 1, 0, ?, ?, ?)').run(gid, listHash, bundle, nowS);
    connection.prepare('INSERT INTO meter (cert_hash, readings, last_sequence) VALUES (?, 2, 2)').run(meter);
    for (const { sequence, hash, previousHash, message } of [one!, two!]) {
      connection
        .prepare(
          `INSERT INTO reading (meter, sequence, gid, epoch, attempt, hash, previous_hash, received_s, message)
           VALUES (1, ?, ?, 3, 1, ?, ?, ?, ?)`,
        )
        .run(sequence, gid, hash, previousHash, nowS, message);
    }
    connection.close();
    const store = openBackendStore(path);
    const { backend } = store;
    expect(await backend.accept([two!, three!], nowS)).toEqual({ fresh: 1 });
    expect((await backend.entries(meter, 0, 9)).map(({ message }) => message)).toEqual(
      [one, two, three].map((reading) => reading!.message),
    );
    expect(await backend.loadMembership(gid)).toEqual(bundle);
    expect(await backend.droppedEntries(meter)).toEqual([]);
    expect(await store.events.positions()).toEqual({ epochs: 0, lists: 0 });
    store.close();
  },
);

it('a database of another program is refused and left as it was', () => {
  runSql('CREATE TABLE bookmarks (url TEXT)');
  const before = readFileSync(path);
  expect(errorOf(() => openMeterStore(path))).toMatchObject({ code: 'data-other-role' });
  expect(readFileSync(path).equals(before)).toBe(true);
});

it('a database that cannot be reached is refused as unreadable', () => {
  expect(errorOf(() => openMeterStore(join(folder, 'missing', 'store.db')))).toMatchObject({ code: 'data-unreadable' });
  expect(errorOf(() => openMeterStore(folder))).toMatchObject({ code: 'data-unreadable' });
});

it('a failing disk is told apart from a full one', () => {
  const ioError = (errno: number): unknown => {
    const cause = Object.assign(new Error('disk I/O error'), {
      code: 'ERR_SQLITE_ERROR',
      errcode: 778,
      systemErrno: errno,
    });
    return storeError(path, cause);
  };
  expect(ioError(constants.errno.EIO)).toMatchObject({ code: 'disk-failed' });
  expect(ioError(constants.errno.EDQUOT)).toMatchObject({ code: 'disk-full' });
});

it('a closed database is whole in its one file', async () => {
  const store = openMeterStore(path);
  const gid = bytes(16);
  const state = bytes(9_000);
  await store.saveMember(gid, state);
  store.close();
  const copy = join(folder, 'copy.db');
  copyFileSync(path, copy);
  const copied = openMeterStore(copy);
  expect(await copied.loadMember(gid)).toEqual(state);
  copied.close();
});

it('damage that is met only later is told as such', async () => {
  openGatewayStore(path).close();
  const schemaPages = statSync(path).size / 4_096;
  const store = openGatewayStore(path);
  const meter = bytes(32);
  await store.accept(readings(meter, 1, 500), nowS);
  store.close();
  const file = openSync(path, 'r+');
  // What is read at the opening stays.
  for (let page = schemaPages; page < statSync(path).size / 4_096; page++)
    writeSync(file, Buffer.alloc(4_096, 7), 0, 4_096, page * 4_096);
  const damaged = openGatewayStore(path);
  await expect(damaged.accept(readings(meter, 400, 405), nowS)).rejects.toMatchObject({ code: 'data-corrupt' });
  damaged.close();
});

describe('migrations', () => {
  const apply = (migrations: readonly string[]): void => {
    const connection = new DatabaseSync(path);
    try {
      migrate(connection, path, 'meter', migrations);
    } finally {
      connection.close();
    }
  };
  const create = "CREATE TABLE note (text TEXT) STRICT; INSERT INTO note VALUES ('kept')";
  const extend = 'ALTER TABLE note ADD COLUMN language TEXT';
  const notes = (): unknown => {
    const connection = new DatabaseSync(path);
    const rows = connection.prepare('SELECT * FROM note').all();
    connection.close();
    return rows;
  };

  it('are applied once each, and keep the data', () => {
    apply([create]);
    apply([create, extend]);
    apply([create, extend]);
    expect(notes()).toEqual([{ text: 'kept', language: null }]);
  });

  it('are applied all or none', () => {
    apply([create]);
    expect(() => {
      apply([create, extend, 'CREATE TABLE other (text TEXT)', 'not SQL']);
    }).toThrow();
    expect(notes()).toEqual([{ text: 'kept' }]);
    apply([create, extend]);
    expect(notes()).toEqual([{ text: 'kept', language: null }]);
  });

  it('exist for every role, numbered without a gap', () => {
    for (const role of roles) {
      const names = readdirSync(new URL(`../../servients/stores/migrations/sqlite/${role}/`, import.meta.url)).sort();
      expect(names.map((name) => Number.parseInt(name, 10))).toEqual(names.map((_, i) => i + 1));
      expect(migrationsOf(role)).toHaveLength(names.length);
    }
  });
});

it('a meter leaves no trace of replaced keys in any file, while it runs', async () => {
  vi.useFakeTimers();
  const store = openMeterStore(path);
  const gid = bytes(16);
  const secrets = Array.from({ length: 30 }, () => bytes(32));
  for (const [i, secret] of secrets.entries()) {
    // Ever smaller, so that it moves within its page and gives up others.
    const state = concatBytes(bytes((secrets.length - i) * 311), secret, bytes(5_000 - i * 97));
    if (i % 3 === 0) await store.saveSealing(state, [{ kind: 'reading', message: bytes(300) }], nowS);
    else if (i % 3 === 1) await store.saveMembership(gid, bytes(700), state);
    else await store.saveMember(gid, state);
  }
  vi.runAllTimers();
  const files = readdirSync(folder).map((name) => readFileSync(join(folder, name)));
  const found = secrets.filter((secret) => files.some((file) => file.includes(Buffer.from(secret))));
  // The newest state of the member and of the sealing.
  expect(found).toEqual([secrets[27], secrets[29]]);
  store.close();
});

describe('a full disk', () => {
  const maxBytes = 300_000;

  /** Repeats until there is no room, and returns how often it went well. */
  async function fill(write: (i: number) => Promise<unknown>): Promise<number> {
    for (let i = 0; ; i++) {
      const error = await write(i).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      if (error === undefined) continue;
      expect(error).toBeInstanceOf(UnavailableError);
      expect(error).toMatchObject({ code: 'disk-full' });
      return i;
    }
  }

  it('stops a meter with nothing half done, and it goes on when the outbox is emptied', async () => {
    const store = openMeterStore(path, { maxBytes });
    const seal = (i: number) =>
      store.saveSealing(Uint8Array.of(i), [{ kind: 'reading', message: bytes(20_000) }], nowS);
    const sealed = await fill(seal);
    expect(await store.loadSealing()).toEqual(Uint8Array.of(sealed - 1));
    const pending = await store.pending(100, 10_000_000);
    expect(pending).toHaveLength(sealed);
    await store.acknowledge(pending.map(({ position }) => position));
    await seal(99);
    expect(await store.loadSealing()).toEqual(Uint8Array.of(99));
    store.close();
  });

  it('stops a gateway with nothing half done, and it goes on when the backend has taken some', async () => {
    const store = openGatewayStore(path, { maxBytes });
    const meter = bytes(32);
    const upload = (i: number) => [reading(meter, 2 * i, 0, 10_000), reading(meter, 2 * i + 1, 0, 10_000)];
    const accepted = await fill((i) => store.accept(upload(i), nowS));
    expect((await store.outboxStatus()).depth).toBe(2 * accepted);
    const [first, second] = await store.pending(2, 100_000);
    await store.acknowledge([first?.position ?? 0, second?.position ?? 0]);
    expect(await store.accept(upload(accepted), nowS)).toEqual({ fresh: 2 });
    store.close();
  });

  it('of a meter leaves room for its state in the rings', async () => {
    const store = openMeterStore(path, { maxBytes });
    await fill((i) => store.saveSealing(Uint8Array.of(i), [{ kind: 'reading', message: bytes(500) }], nowS));
    const { usedBytes, budgetBytes } = await store.diskStatus();
    expect(budgetBytes).toBeLessThan(maxBytes);
    expect(budgetBytes! - usedBytes).toBeLessThan(500);
    for (let i = 0; i < 20; i++) await store.saveMembership(gid, bytes(20_000), bytes(5_000));
    store.close();
  });

  it('of a gateway leaves room for the records of epochs, and for setting aside what is refused', async () => {
    const store = openGatewayStore(path, { maxBytes });
    const meter = bytes(32);
    const accepted = await fill((i) => store.accept([reading(meter, i + 1, 0, 500)], nowS));
    for (let epoch = 1; epoch <= 5; epoch++) {
      expect(await store.saveAnnounced(gid, epoch, 1)).toBe(true);
      const record = { gid, epoch, attempt: 1, listHash: bytes(32), record: bytes(5_000), agreedS: nowS };
      await store.saveRecord({ ...record });
    }
    for (const { position } of await store.pending(20, 100_000)) await store.setAside(position, 'refused');
    expect((await store.outboxStatus()).depth).toBe(accepted - 20);
    store.close();
  });

  it('stops a backend with nothing half done, and it goes on under a larger quota', async () => {
    const small = openBackendStore(path, { maxBytes });
    const meter = bytes(32);
    const upload = (i: number) => [reading(meter, 2 * i, 0, 10_000), reading(meter, 2 * i + 1, 0, 10_000)];
    const accepted = await fill((i) => small.backend.accept(upload(i), nowS));
    expect(await small.backend.entries(meter, -1, 1_000)).toHaveLength(2 * accepted);
    small.close();
    const larger = openBackendStore(path, { maxBytes: 2 * maxBytes });
    expect(await larger.backend.accept(upload(accepted), nowS)).toEqual({ fresh: 2 });
    larger.close();
  });
});
