import type { KeptProposal, ProposalStore } from '../../../things/proposal-store.js';
import { assertRoomForProposal, keptProposal } from '../proposals.js';
import { onlyRow, type Database, type Statement } from './database.js';

const columns = 'id, gid, taken_s AS takenS, expires_s AS expiresS, message';

export class SqliteProposalStore implements ProposalStore {
  readonly #database: Database;
  readonly #one: Statement<[id: Uint8Array], KeptProposal>;
  readonly #waiting: Statement<[gid: Uint8Array, nowS: number], { readonly count: number }>;
  readonly #forget: Statement<[beforeS: number]>;
  readonly #save: Statement<[id: Uint8Array, gid: Uint8Array, takenS: number, expiresS: number, message: Uint8Array]>;
  readonly #all: Statement<[gid: Uint8Array, afterId: Uint8Array, limit: number], KeptProposal>;

  constructor(database: Database) {
    this.#database = database;
    this.#one = database.prepare(`SELECT ${columns} FROM proposal WHERE id = ?`);
    this.#waiting = database.prepare('SELECT count(*) AS count FROM proposal WHERE gid = ? AND expires_s >= ?');
    this.#forget = database.prepare('DELETE FROM proposal WHERE expires_s < ?');
    this.#save = database.prepare('INSERT INTO proposal (id, gid, taken_s, expires_s, message) VALUES (?, ?, ?, ?, ?)');
    this.#all = database.prepare(`SELECT ${columns} FROM proposal WHERE gid = ? AND id > ? ORDER BY id LIMIT ?`);
  }

  async saveProposal(
    { id, gid, takenS, expiresS, message }: KeptProposal,
    { waiting, forgetBeforeS }: { readonly waiting: number; readonly forgetBeforeS: number },
  ): Promise<boolean> {
    return this.#database.transaction(() => {
      if (this.#one.get(id)) return false;
      assertRoomForProposal(onlyRow(this.#waiting.get(gid, takenS)).count, waiting);
      this.#forget.run(forgetBeforeS);
      this.#save.run(id, gid, takenS, expiresS, message);
      return true;
    });
  }

  async proposal(id: Uint8Array): Promise<KeptProposal | undefined> {
    const row = this.#database.read(() => this.#one.get(id));
    return row && keptProposal(row);
  }

  async proposals(gid: Uint8Array, afterId: Uint8Array, limit: number): Promise<readonly KeptProposal[]> {
    return this.#database.read(() => this.#all.all(gid, afterId, limit)).map(keptProposal);
  }
}
