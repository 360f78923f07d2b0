/** The suites of stores.test.ts on a real PostgreSQL, and what is of it alone: other programs' data, versions, failures. */
import pg from 'pg';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { openPostgresBackendStore } from '../../servients/stores/postgres/backend-store.js';
import { Database } from '../../servients/stores/postgres/database.js';
import { migrate, migrations } from '../../servients/stores/postgres/migrate.js';
import { storeError } from '../../servients/stores/postgres/store-error.js';
import { startPostgres } from '../support/postgres.js';
import { describeAudit } from './stores/audit-suite.js';
import { describeAccountsStore } from './stores/accounts-suite.js';
import { describeBackendStore } from './stores/backend-suite.js';
import { describeCommandStore } from './stores/commands-suite.js';
import { describeDirectoryStore } from './stores/directory-suite.js';
import { describeEndpointStore } from './stores/endpoints-suite.js';
import { describeEnrolmentStore } from './stores/enrolment-suite.js';
import { describeProposalStore } from './stores/proposal-suite.js';
import { describeEvents } from './stores/events-suite.js';
import { describePostgresBackups } from './stores/postgres-backup-suite.js';
import { describePostgresMigrations } from './stores/postgres-migrations-suite.js';
import { describeIdempotencyStore } from './stores/idempotency-suite.js';
import { describeIssuerStore } from './stores/issuer-suite.js';
import {
  postgresAudit,
  postgresAccounts,
  postgresBackendStores,
  postgresCommandStores,
  postgresDirectoryStores,
  postgresEndpoints,
  postgresEnrolments,
  postgresProposals,
  postgresEvents,
  postgresIdempotencyStores,
  postgresIssuerStores,
} from './stores/postgres-places.js';
import { bytes, nowS, reading, readings } from './stores/samples.js';

const server = await startPostgres();
afterAll(() => server?.stop());

const open = (url: string) => openPostgresBackendStore(url, 'x25519');

if (server === undefined) {
  it.skip('PostgreSQL is not here', () => undefined);
} else {
  describeBackendStore('a PostgreSQL backend store', postgresBackendStores(server));
  describeCommandStore('a PostgreSQL store of commands', postgresCommandStores(server));
  describeDirectoryStore('a PostgreSQL directory store', postgresDirectoryStores(server));
  describeIdempotencyStore('a PostgreSQL store of requests', postgresIdempotencyStores(server));
  describeIssuerStore('a PostgreSQL issuer store', postgresIssuerStores(server));
  describeEvents('a PostgreSQL backend store', postgresEvents(server));
  describeAudit('a PostgreSQL backend store', postgresAudit(server));
  describeAccountsStore('a PostgreSQL store of accounts', postgresAccounts(server));
  describeEndpointStore('a PostgreSQL store of endpoints', postgresEndpoints(server));
  describeEnrolmentStore('a PostgreSQL store of enrolments', postgresEnrolments(server));
  describeProposalStore('a PostgreSQL store of proposals', postgresProposals(server));
  describePostgresBackups(server);
  describePostgresMigrations(server);

  describe('a PostgreSQL database', () => {
    it('is migrated once by processes that start at once', async () => {
      const url = await server.newDatabase();
      const opened = await Promise.all(Array.from({ length: 4 }, () => open(url)));
      expect(await server.run(url, 'SELECT version, suite FROM gridring_backend')).toEqual([
        { version: migrations().length, suite: 'x25519' },
      ]);
      for (const stores of opened) await stores.close();
    });

    it('is migrated all or not at all', async () => {
      const url = await server.newDatabase();
      const database = new Database(url);
      await migrate(database, 'x25519', ['CREATE TABLE note (text text)']);
      const broken = ['', "INSERT INTO note VALUES ('half')", 'not SQL'];
      await expect(migrate(database, 'x25519', broken)).rejects.toThrow();
      expect(
        await server.run(url, 'SELECT version, (SELECT count(*)::int FROM note) AS notes FROM gridring_backend'),
      ).toEqual([{ version: 1, notes: 0 }]);
      await database.close();
    });

    it.each(migrations().map((_, i) => i + 1))(
      'of version %i is brought forward with what is in it',
      async (version) => {
        const url = await server.newDatabase();
        const database = new Database(url);
        await migrate(database, 'x25519', migrations().slice(0, version));
        const [gid, meter, listHash, bundle] = [bytes(16), bytes(32), bytes(32), bytes(10)];
        const [one, two, three] = readings(meter, 1, 3);
        await database.run('INSERT INTO membership_list VALUES ($1, 1, 0, $2, $3, $4)', [gid, listHash, bundle, nowS]);
        await database.run(`INSERT INTO epoch VALUES ($1, 7, 1, $2, $3, 3, 'founding', $4, $5)`, [
          gid,
          bytes(32),
          listHash,
          nowS,
          bundle,
        ]);
        await database.run('INSERT INTO meter (cert_hash, readings, last_sequence, last_hash) VALUES ($1, 2, 2, $2)', [
          meter,
          two!.hash,
        ]);
        await database.run(
          `CREATE TABLE reading_20250612 PARTITION OF reading FOR VALUES FROM (1749686400) TO (1750291200)`,
        );
        for (const { sequence, hash, previousHash, message } of [one!, two!]) {
          await database.run(
            `INSERT INTO reading (meter, sequence, received_s, epoch, attempt, gid, hash, previous_hash, message)
           VALUES (1, $1, $2, 3, 1, $3, $4, $5, $6)`,
            [sequence, nowS, gid, hash, previousHash, message],
          );
        }
        await database.close();
        const stores = await open(url);
        const { backend } = stores;
        expect(await backend.accept([two!, three!], nowS)).toEqual({ fresh: 1 });
        expect((await backend.entries(meter, 0, 9)).map(({ message }) => message)).toEqual(
          [one, two, three].map((reading) => reading!.message),
        );
        expect(await backend.loadMembership(gid)).toEqual(bundle);
        expect(await backend.epochs(gid, 9)).toMatchObject([{ epoch: 7, listVersion: 1 }]);
        expect(await backend.droppedEntries(meter)).toEqual([]);
        await stores.close();
      },
    );

    it('is refused when a newer version has written it, or it is of another suite', async () => {
      const url = await server.newDatabase();
      await (await open(url)).close();
      await expect(openPostgresBackendStore(url, 'p256')).rejects.toMatchObject({ code: 'data-suite' });
      await server.run(url, 'UPDATE gridring_backend SET version = 999');
      await expect(open(url)).rejects.toMatchObject({ code: 'data-version' });
    });

    it('of another program is refused and left as it was', async () => {
      const url = await server.newDatabase();
      await server.run(url, 'CREATE TABLE bookmarks (url text)');
      await expect(open(url)).rejects.toMatchObject({ code: 'data-other-role' });
      expect(await server.run(url, `SELECT to_regclass('gridring_backend') AS ours`)).toEqual([{ ours: null }]);
    });

    it('that cannot be reached or does not let us in is told as such, without its password', async () => {
      const url = await server.newDatabase();
      const unreachable = url.replace(/:\d+\//, ':1/');
      await expect(open(unreachable)).rejects.toMatchObject({ code: 'database-unreachable' });
      const [, password] = /:([0-9a-f]+)@/.exec(url)!;
      const refusal = await open(url.replace(password!, 'wrong')).catch((error: unknown) => error);
      expect(refusal).toMatchObject({ code: 'database-refused' });
      expect(String(refusal)).not.toContain('wrong');
      await expect(open(url.replace('/postgres?', '/missing?'))).rejects.toMatchObject({ code: 'database-refused' });
      await expect(open('postgres://[')).rejects.toMatchObject({ code: 'database-url' });
    });

    it('tells a full disk from one that fails, and neither from a fault of ours', () => {
      const failure = (code: string): unknown =>
        storeError('a database', Object.assign(new pg.DatabaseError('', 0, 'error'), { code }));
      expect(failure('53100')).toMatchObject({ code: 'disk-full' });
      expect(failure('58030')).toMatchObject({ code: 'disk-failed' });
      expect(failure('57P01')).toMatchObject({ code: 'database-unreachable' });
      expect(failure('42P01')).toBeInstanceOf(pg.DatabaseError);
    });

    it('whose connections are all cut serves again, with all that was acknowledged', async () => {
      const url = await server.newDatabase();
      const stores = await open(url);
      const meter = bytes(32);
      await stores.backend.accept(readings(meter, 1, 3), nowS);
      await server.run(
        url,
        'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename IS NOT NULL',
      );
      const again = () => stores.backend.accept(readings(meter, 1, 4), nowS);
      // Whether the broken connection is already known to be so, nobody can say.
      const { fresh } = await again().catch(again);
      expect(fresh).toBe(1);
      await stores.close();
      await expect(again()).rejects.toMatchObject({ code: 'store-closed' });
    });

    it('of a server that was killed has all that was acknowledged, and serves again', async () => {
      const stores = await open(await server.newDatabase());
      const { backend } = stores;
      const meter = bytes(32);
      let acknowledged = 0;
      const writing = (async () => {
        for (let i = 1; i < 10_000; i++) {
          await backend.accept(readings(meter, 3 * i - 2, 3 * i), nowS);
          acknowledged = 3 * i;
        }
      })();
      await vi.waitFor(() => {
        expect(acknowledged).toBeGreaterThan(10);
      });
      const failure = writing.catch((error: unknown) => error);
      await server.crash();
      expect(await failure).toMatchObject({ code: 'database-unreachable' });
      const stored = (await vi.waitFor(() => backend.entries(meter, 0, 100_000))).length;
      // The last commit may have been made and not yet been told.
      expect([acknowledged, acknowledged + 3]).toContain(stored);
      const again = readings(meter, 1, acknowledged + 6);
      expect(await backend.accept(again, nowS)).toEqual({ fresh: again.length - stored });
      await stores.close();
    });

    it('keeps a reading once across partitions, however late it comes again', async () => {
      const stores = await open(await server.newDatabase());
      const { backend } = stores;
      const meter = bytes(32);
      const weekS = 7 * 86_400;
      await backend.accept(readings(meter, 1, 3), nowS);
      await backend.accept(readings(meter, 4, 6), nowS + weekS);
      await backend.accept(readings(meter, 8, 9), nowS + 2 * weekS);
      expect(await backend.accept(readings(meter, 2, 9), nowS + 3 * weekS)).toEqual({ fresh: 1 });
      const forged = { ...reading(meter, 3), hash: bytes(32) };
      await expect(backend.accept([forged], nowS + 4 * weekS)).rejects.toMatchObject({ code: 'sequence-conflict' });
      const sequences = (await backend.entries(meter, 0, 100)).map(({ sequence }) => sequence);
      expect(sequences).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
      expect((await backend.lastEntries(meter, 3)).map(({ receivedS }) => receivedS - nowS)).toEqual([
        3 * weekS,
        2 * weekS,
        2 * weekS,
      ]);
      await stores.close();
    });
  });
}
