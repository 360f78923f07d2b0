/** Every schema that an earlier version has made in PostgreSQL is brought to the newest, with what was in it. */
import { describe, expect, it } from 'vitest';
import { openPostgresBackendStore } from '../../../servients/stores/postgres/backend-store.js';
import { Database } from '../../../servients/stores/postgres/database.js';
import { migrate, migrations } from '../../../servients/stores/postgres/migrate.js';
import type { PostgresServer } from '../../support/postgres.js';

const versions = migrations().map((_, i) => i + 1);
const meter = new Uint8Array(32).fill(7);
const hex = (byte: string, bytes: number): string => `'\\x${byte.repeat(bytes)}'`;

/** As the first version wrote it. */
const rows = `
  INSERT INTO membership_list VALUES (${hex('01', 16)}, 1, 0, ${hex('02', 32)}, ${hex('03', 40)}, 5);
  INSERT INTO epoch VALUES (${hex('01', 16)}, 4, 1, ${hex('04', 32)}, ${hex('02', 32)}, 3, 'founding', 6, ${hex('05', 9)}, NULL);
  INSERT INTO meter (cert_hash, readings, last_sequence, last_hash) VALUES (${hex('07', 32)}, 1, 1, ${hex('08', 32)});
  CREATE TABLE reading_19700101 PARTITION OF reading FOR VALUES FROM (0) TO (604800);
  CREATE UNIQUE INDEX ON reading_19700101 (meter, sequence);
  INSERT INTO reading (meter, sequence, received_s, epoch, attempt, gid, hash, previous_hash, message)
    VALUES (1, 1, 8, 4, 1, ${hex('01', 16)}, ${hex('08', 32)}, ${hex('00', 32)}, ${hex('09', 50)});
  INSERT INTO reader_grant (meter, reader, gid, epoch, attempt, key_hash, received_s, message)
    VALUES (1, ${hex('0a', 32)}, ${hex('01', 16)}, 4, 1, ${hex('0b', 32)}, 8, ${hex('0c', 50)});
  INSERT INTO directory_entry VALUES ('urn:x', '{}', 1, 2, NULL, 'urn:o')`;

export function describePostgresMigrations(server: PostgresServer): void {
  describe.each(versions)('a PostgreSQL database of schema %i', (version) => {
    it('comes forward with everything that it held', async () => {
      const url = await server.newDatabase();
      const database = new Database(url);
      await migrate(database, 'x25519', migrations().slice(0, version));
      await database.close();
      await server.run(url, rows);
      const opened = await openPostgresBackendStore(url, 'x25519');
      const { backend, directory } = opened;
      expect(await backend.membershipLists(new Uint8Array(16).fill(1))).toHaveLength(1);
      expect(await backend.epochs(new Uint8Array(16).fill(1), 9)).toMatchObject([{ epoch: 4, members: 3 }]);
      expect(await backend.readingCounts()).toEqual([{ meter, count: 1, lastSequence: 1 }]);
      expect(await backend.entries(meter, 0, 9, 'any')).toMatchObject([{ kind: 'reading', sequence: 1, receivedS: 8 }]);
      expect(await backend.grants(meter, new Uint8Array(32).fill(10))).toHaveLength(1);
      expect((await directory.listEntries(0, 9)).entries).toMatchObject([{ id: 'urn:x', owner: 'urn:o' }]);
      await opened.close();
    });
  });
}
