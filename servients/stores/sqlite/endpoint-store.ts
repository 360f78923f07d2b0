import type { Endpoint, EndpointContent, EndpointCounts, EndpointStore } from '../../../things/endpoint-store.js';
import { onlyRow, type Database, type Statement } from './database.js';
import type { SqliteEvents } from './events.js';

const columns = `id, name, sector, given_base AS givenBase, source_base AS sourceBase, lifetime_s AS lifetimeS,
  updated_s AS updatedS, attributes, links, owner, things, revision`;

export class SqliteEndpointStore implements EndpointStore {
  readonly #database: Database;
  readonly #events: SqliteEvents;
  readonly #advance: Statement<[], { readonly position: number }>;
  readonly #position: Statement<[], { readonly position: number }>;
  readonly #one: Statement<[id: string], Endpoint>;
  readonly #named: Statement<[name: string, sector: string], Endpoint>;
  readonly #all: Statement<[], Endpoint>;
  readonly #counts: Statement<[owner: string], EndpointCounts>;
  readonly #put: Statement<(string | number | null)[]>;
  readonly #delete: Statement<[id: string]>;
  readonly #expired: Statement<[nowS: number], { readonly id: string }>;

  constructor(database: Database, events: SqliteEvents) {
    this.#database = database;
    this.#events = events;
    this.#advance = database.prepare(
      'UPDATE backend_state SET endpoint_revision = endpoint_revision + 1 RETURNING endpoint_revision AS position',
    );
    this.#position = database.prepare('SELECT endpoint_revision AS position FROM backend_state');
    this.#one = database.prepare(`SELECT ${columns} FROM endpoint WHERE id = ?`);
    this.#named = database.prepare(`SELECT ${columns} FROM endpoint WHERE name = ? AND sector = ?`);
    this.#all = database.prepare(`SELECT ${columns} FROM endpoint ORDER BY name, sector`);
    this.#counts = database.prepare(
      'SELECT count(*) AS "all", count(*) FILTER (WHERE owner = ?) AS ofOwner FROM endpoint',
    );
    this.#put = database.prepare('INSERT OR REPLACE INTO endpoint VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)');
    this.#delete = database.prepare('DELETE FROM endpoint WHERE id = ?');
    this.#expired = database.prepare('SELECT id FROM endpoint WHERE updated_s + lifetime_s <= ? ORDER BY id');
  }

  async putEndpoint(
    { name, sector, owner, newId }: Pick<Endpoint, 'name' | 'sector' | 'owner'> & { readonly newId: string },
    step: (known: Endpoint | undefined, counts: EndpointCounts) => EndpointContent,
  ): Promise<Endpoint> {
    return this.#changing(() => {
      const known = this.#named.get(name, sector);
      const content = step(known, onlyRow(this.#counts.get(owner)));
      return this.#save({ id: known?.id ?? newId, name, sector }, content);
    });
  }

  async updateEndpoint(id: string, step: (known: Endpoint) => EndpointContent): Promise<Endpoint | undefined> {
    return this.#changing(() => {
      const known = this.#one.get(id);
      return known && this.#save(known, step(known));
    });
  }

  async deleteEndpoint(id: string, admit: (known: Endpoint) => void): Promise<boolean> {
    return this.#changing(() => {
      const known = this.#one.get(id);
      if (!known) return false;
      admit(known);
      this.#remove(id);
      return true;
    });
  }

  async endpoint(id: string): Promise<Endpoint | undefined> {
    return this.#database.read(() => this.#one.get(id));
  }

  async endpointNamed(name: string, sector: string): Promise<Endpoint | undefined> {
    return this.#database.read(() => this.#named.get(name, sector));
  }

  async endpoints(): Promise<readonly Endpoint[]> {
    return this.#database.read(() => this.#all.all());
  }

  async purgeEndpoints(nowS: number): Promise<readonly string[]> {
    // Before every look at them, which should not cost a write.
    if (this.#database.read(() => this.#expired.get(nowS)) === undefined) return [];
    return this.#changing(() => {
      const expired = this.#expired.all(nowS).map(({ id }) => id);
      for (const id of expired) this.#remove(id);
      return expired;
    });
  }

  async endpointPosition(): Promise<number> {
    return this.#database.read(() => onlyRow(this.#position.get()).position);
  }

  #changing<Result>(work: () => Result): Result {
    const result = this.#database.transaction(work);
    this.#events.wake();
    return result;
  }

  #save({ id, name, sector }: Pick<Endpoint, 'id' | 'name' | 'sector'>, content: EndpointContent): Endpoint {
    const { position: revision } = onlyRow(this.#advance.get());
    const { givenBase, sourceBase, lifetimeS, updatedS, attributes, links, owner, things } = content;
    const bases = [givenBase, sourceBase, lifetimeS, updatedS];
    this.#put.run(id, name, sector, ...bases, attributes, links, owner, things, revision);
    return { ...content, id, name, sector, revision };
  }

  #remove(id: string): void {
    this.#delete.run(id);
    this.#advance.get();
  }
}
