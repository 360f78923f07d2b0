/** A backend's data on its way from one kind of database to the other, and back. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openBackendStore } from '../../../servients/stores/sqlite/backend-store.js';
import { openPostgresBackendStore } from '../../../servients/stores/postgres/backend-store.js';
import type { BackendStores } from '../../../servients/stores/backend.js';
import { at } from '../../support/forge.js';
import type { PostgresServer } from '../../support/postgres.js';
import { makeRole } from '../../support/roles.js';
import { fillBackend, loadBackend, makeBackups, n, refusedWith, type Backups } from '../backups.js';
import { account } from './accounts-suite.js';

/** All that a reader may ask for. */
const contentsOf = async ({ backend, directory, accounts }: Omit<BackendStores, 'close' | 'assertCurrent'>) => ({
  lists: await backend.membershipLists(n.gid),
  epochs: await backend.epochs(n.gid, 100),
  counts: await backend.readingCounts(),
  entries: await Promise.all(n.meters.map(({ certHash }) => backend.entries(certHash, 0, 100))),
  grants: await Promise.all(n.meters.map(({ certHash }) => backend.grants(certHash, n.utility.certHash))),
  things: await directory.listEntries(0, 10),
  accounts: await accounts.accounts('', 10),
  accessRevision: await accounts.accessRevision(),
});

export function describePostgresBackups(server: PostgresServer): void {
  describe('a backup', () => {
    let backups: Backups;
    beforeAll(async () => {
      backups = await makeBackups();
    });
    afterAll(() => {
      backups.remove();
    });

    it('brings a backend from SQLite to PostgreSQL and back, with everything as it was, and it goes on there', async () => {
      const role = makeRole(n, 'backend', backups.newPath());
      const sqlite = openBackendStore(role.database);
      await fillBackend(sqlite);
      const thing = { td: '{"ü":1}', modifiedS: 1, ttlS: null, expiresS: null, owner: 'urn:o' };
      await sqlite.directory.changeEntry('urn:x', () => thing);
      await sqlite.accounts.createAccount(account('a', { certHashes: [new Uint8Array(32)] }));
      const before = await contentsOf(sqlite);
      const file = await backups.backUp('backend', role);
      sqlite.close();

      const databaseUrl = await server.newDatabase();
      await backups.restore(file, { databaseUrl });
      const postgres = await openPostgresBackendStore(databaseUrl, 'x25519');
      expect(await contentsOf(postgres)).toEqual(before);
      expect((await loadBackend(postgres)).memberships).toHaveLength(1);
      const backup = backups.backUp('backend', role, databaseUrl);
      await backup;
      await postgres.close();
      expect(await refusedWith(backups.restore(file, { databaseUrl }))).toBe('database-not-empty');

      const to = backups.newPath();
      const { checked } = await backups.restore(await backup, { to });
      expect(checked).toMatchObject({ lists: 1, epochs: 1, readings: 10, gaps: 0 });
      const again = openBackendStore(join(to, 'data/backend.db'));
      expect(await contentsOf(again)).toEqual(before);
      again.close();
    });

    it('of PostgreSQL is that of one moment, while backends write to it', async () => {
      const url = await server.newDatabase();
      const postgres = await openPostgresBackendStore(url, 'x25519');
      const upload = await fillBackend(postgres);
      const backup = backups.backUp('backend', makeRole(n, 'backend', backups.newPath()), url);
      for (let i = 0; i < 10; i++) await upload();
      const databaseUrl = await server.newDatabase();
      const { checked } = await backups.restore(await backup, { databaseUrl });
      expect(checked?.gaps).toBe(0);
      const restored = await openPostgresBackendStore(databaseUrl, 'x25519');
      const [count] = (await restored.backend.readingCounts()).map((row) => row.count);
      expect(2 * (count ?? 0)).toBe(checked?.readings);
      const { certHash } = at(n.meters, 0);
      const missing = (await postgres.backend.entries(certHash, count ?? 0, 100)).length;
      expect(missing).toBe(55 - (count ?? 0));
      await restored.close();
      await postgres.close();
    });
  });
}
