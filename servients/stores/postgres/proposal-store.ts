import type { KeptProposal, ProposalStore } from '../../../things/proposal-store.js';
import { assertRoomForProposal, keptProposal } from '../proposals.js';
import { onlyRow, type Database } from './database.js';
import { lock } from './locks.js';

const columns = 'id, gid, taken_s AS "takenS", expires_s AS "expiresS", message';

export class PostgresProposalStore implements ProposalStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  saveProposal(
    { id, gid, takenS, expiresS, message }: KeptProposal,
    { waiting, forgetBeforeS }: { readonly waiting: number; readonly forgetBeforeS: number },
  ): Promise<boolean> {
    return this.#database.transaction(async (session) => {
      await lock(session, 'proposals');
      if ((await session.rows('SELECT 1 AS known FROM proposal WHERE id = $1', [id])).length > 0) return false;
      const { count } = onlyRow(
        await session.rows<{ readonly count: number }>(
          'SELECT count(*) AS count FROM proposal WHERE gid = $1 AND expires_s >= $2::bigint',
          [gid, takenS],
        ),
      );
      assertRoomForProposal(count, waiting);
      await session.run('DELETE FROM proposal WHERE expires_s < $1::bigint', [forgetBeforeS]);
      await session.run(
        'INSERT INTO proposal (id, gid, taken_s, expires_s, message) VALUES ($1, $2, $3::bigint, $4::bigint, $5)',
        [id, gid, takenS, expiresS, message],
      );
      return true;
    });
  }

  async proposal(id: Uint8Array): Promise<KeptProposal | undefined> {
    const [row] = await this.#database.rows<KeptProposal>(`SELECT ${columns} FROM proposal WHERE id = $1`, [id]);
    return row && keptProposal(row);
  }

  async proposals(gid: Uint8Array, afterId: Uint8Array, limit: number): Promise<readonly KeptProposal[]> {
    const rows = await this.#database.rows<KeptProposal>(
      `SELECT ${columns} FROM proposal WHERE gid = $1 AND id > $2 ORDER BY id LIMIT $3::bigint`,
      [gid, afterId, limit],
    );
    return rows.map(keptProposal);
  }
}
