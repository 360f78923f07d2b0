import type { Endpoint, EndpointContent, EndpointCounts, EndpointStore } from '../../../things/endpoint-store.js';
import { onlyRow, type Database, type Session } from './database.js';
import { wakeAll } from './events.js';

const columns = `id, name, sector, given_base AS "givenBase", source_base AS "sourceBase", lifetime_s AS "lifetimeS",
  updated_s AS "updatedS", attributes, links, owner, things, revision`;
const oneSql = `SELECT ${columns} FROM endpoint WHERE id = $1`;
const namedSql = `SELECT ${columns} FROM endpoint WHERE name = $1 AND sector = $2`;
const isExpired = 'updated_s + lifetime_s <= $1::bigint';

export class PostgresEndpointStore implements EndpointStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  putEndpoint(
    { name, sector, owner, newId }: Pick<Endpoint, 'name' | 'sector' | 'owner'> & { readonly newId: string },
    step: (known: Endpoint | undefined, counts: EndpointCounts) => EndpointContent,
  ): Promise<Endpoint> {
    return this.#alone(async (session) => {
      const [known] = await session.rows<Endpoint>(namedSql, [name, sector]);
      const counts = await session.rows<EndpointCounts>(
        'SELECT count(*) AS "all", count(*) FILTER (WHERE owner = $1) AS "ofOwner" FROM endpoint',
        [owner],
      );
      return save(session, { id: known?.id ?? newId, name, sector }, step(known, onlyRow(counts)));
    });
  }

  updateEndpoint(id: string, step: (known: Endpoint) => EndpointContent): Promise<Endpoint | undefined> {
    return this.#alone(async (session) => {
      const [known] = await session.rows<Endpoint>(oneSql, [id]);
      return known && save(session, known, step(known));
    });
  }

  deleteEndpoint(id: string, admit: (known: Endpoint) => void): Promise<boolean> {
    return this.#alone(async (session) => {
      const [known] = await session.rows<Endpoint>(oneSql, [id]);
      if (!known) return false;
      admit(known);
      await session.run('DELETE FROM endpoint WHERE id = $1', [id]);
      await advance(session);
      return true;
    });
  }

  async endpoint(id: string): Promise<Endpoint | undefined> {
    return (await this.#database.rows<Endpoint>(oneSql, [id]))[0];
  }

  async endpointNamed(name: string, sector: string): Promise<Endpoint | undefined> {
    return (await this.#database.rows<Endpoint>(namedSql, [name, sector]))[0];
  }

  endpoints(): Promise<readonly Endpoint[]> {
    return this.#database.rows<Endpoint>(
      `SELECT ${columns} FROM endpoint ORDER BY name COLLATE "C", sector COLLATE "C"`,
    );
  }

  async purgeEndpoints(nowS: number): Promise<readonly string[]> {
    // Before every look at them, which should keep nobody waiting.
    const some = await this.#database.rows(`SELECT 1 FROM endpoint WHERE ${isExpired} LIMIT 1`, [nowS]);
    if (some.length === 0) return [];
    return this.#alone(async (session) => {
      const rows = await session.rows<{ readonly id: string }>(`DELETE FROM endpoint WHERE ${isExpired} RETURNING id`, [
        nowS,
      ]);
      if (rows.length > 0) await advance(session);
      return rows.map(({ id }) => id).sort();
    });
  }

  async endpointPosition(): Promise<number> {
    const rows = await this.#database.rows<{ readonly position: number }>(
      'SELECT endpoint_revision AS position FROM backend_state',
    );
    return onlyRow(rows).position;
  }

  /** One change of the endpoints at a time, in all processes: so the counts are right, and the positions in order. */
  #alone<Result>(work: (session: Session) => Promise<Result>): Promise<Result> {
    return this.#database.transaction(async (session) => {
      await session.run('SELECT endpoint_revision FROM backend_state FOR UPDATE');
      return work(session);
    });
  }
}

async function save(
  session: Session,
  { id, name, sector }: Pick<Endpoint, 'id' | 'name' | 'sector'>,
  content: EndpointContent,
): Promise<Endpoint> {
  const revision = await advance(session);
  const { givenBase, sourceBase, lifetimeS, updatedS, attributes, links, owner, things } = content;
  await session.run(
    `INSERT INTO endpoint (id, name, sector, given_base, source_base, lifetime_s, updated_s, attributes, links, owner,
       things, revision) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
     ON CONFLICT (id) DO UPDATE SET given_base = excluded.given_base, source_base = excluded.source_base,
       lifetime_s = excluded.lifetime_s, updated_s = excluded.updated_s, attributes = excluded.attributes,
       links = excluded.links, owner = excluded.owner, things = excluded.things, revision = excluded.revision`,
    [id, name, sector, givenBase, sourceBase, lifetimeS, updatedS, attributes, links, owner, things, revision],
  );
  return { ...content, id, name, sector, revision };
}

/** @returns the new position */
async function advance(session: Session): Promise<number> {
  const rows = await session.rows<{ readonly position: number }>(
    'UPDATE backend_state SET endpoint_revision = endpoint_revision + 1 RETURNING endpoint_revision AS position',
  );
  await wakeAll(session);
  return onlyRow(rows).position;
}
