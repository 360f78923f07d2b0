/** A pool of connections to one PostgreSQL database. A transaction that has returned is on the server's disk. */
import pg from 'pg';
import { SetupError } from '../../../crypto/errors.js';
import { storeError } from './store-error.js';

type Scalar = number | string | boolean | null | Uint8Array;
type SqlValue = Scalar | readonly Scalar[];

/** What queries run on: a transaction, or the pool, where each is a transaction by itself. */
export interface Session {
  /** Prepared once on each connection, so the texts must be few. */
  rows<Row>(text: string, values?: readonly SqlValue[]): Promise<readonly Row[]>;
  /** @returns how many rows it changed */
  run(text: string, values?: readonly SqlValue[]): Promise<number>;
}

export interface Transaction extends Session {
  /** Several statements without values. */
  script(sql: string): Promise<void>;
}

const connections = 10;
const connectTimeoutMs = 5_000;
const statementTimeoutMs = 30_000;
/** A process that hangs in a transaction must not keep the others out. */
const idleInTransactionMs = 10_000;
/** Of a transaction that deadlocked or could not be serialized. */
const attempts = 5;
const toRepeat: ReadonlySet<string | undefined> = new Set(['40001', '40P01']);

/** What a column of these types is read as; all numbers of ours are safe integers. */
const types = new pg.TypeOverrides();
types.setTypeParser(pg.types.builtins.INT8, Number);
types.setTypeParser(pg.types.builtins.BYTEA, bytesOf);

function bytesOf(text: string): Uint8Array {
  const { buffer, byteOffset, byteLength } = Buffer.from(text.slice(2), 'hex');
  return new Uint8Array(buffer, byteOffset, byteLength);
}

export interface PoolStatus {
  readonly total: number;
  readonly idle: number;
  readonly waiting: number;
}

export class Database implements Session {
  /** Names the database in messages; without user and password. */
  readonly place: string;
  readonly #pool: pg.Pool;
  readonly #url: string;

  /**
   * Connects with nothing yet.
   * @param url `postgres://user:password@host:port/name?options`
   * @throws SetupError `database-url`
   */
  constructor(url: string) {
    this.place = placeOf(url);
    this.#url = url;
    this.#pool = new pg.Pool({
      ...clientConfig(url),
      max: connections,
      connectionTimeoutMillis: connectTimeoutMs,
      statement_timeout: statementTimeoutMs,
      idle_in_transaction_session_timeout: idleInTransactionMs,
    });
    // An idle connection that breaks is replaced when the next one is needed.
    this.#pool.on('error', () => undefined);
  }

  rows<Row>(text: string, values: readonly SqlValue[] = []): Promise<readonly Row[]> {
    return this.#guarded(() => sessionOf(this.#pool).rows<Row>(text, values));
  }

  run(text: string, values: readonly SqlValue[] = []): Promise<number> {
    return this.#guarded(() => sessionOf(this.#pool).run(text, values));
  }

  /**
   * Runs `work` on one connection, all of it or nothing, and again when it collided with another transaction.
   * @throws what `work` throws, and the errors of `storeError`
   */
  transaction<Result>(work: (transaction: Transaction) => Promise<Result>): Promise<Result> {
    return this.#guarded(async () => {
      for (let attempt = 1; ; attempt++) {
        try {
          return await this.#once(work);
        } catch (cause) {
          if (!(cause instanceof pg.DatabaseError) || !toRepeat.has(cause.code) || attempt === attempts) throw cause;
        }
      }
    });
  }

  /** Connections of the pool, and who waits for one. */
  get pool(): PoolStatus {
    const { totalCount, idleCount, waitingCount } = this.#pool;
    return { total: totalCount, idle: idleCount, waiting: waitingCount };
  }

  /** A connection outside of the pool, which the caller opens and ends. */
  newClient(): pg.Client {
    return new pg.Client({ ...clientConfig(this.#url), connectionTimeoutMillis: connectTimeoutMs });
  }

  async close(): Promise<void> {
    if (!this.#pool.ended && !this.#pool.ending) await this.#pool.end();
  }

  async #once<Result>(work: (transaction: Transaction) => Promise<Result>): Promise<Result> {
    const client = await this.#pool.connect();
    // Also in the midst of a transaction: the query under way fails, and that is enough.
    const ignore = (): void => undefined;
    client.on('error', ignore);
    let broken = false;
    try {
      await client.query('BEGIN');
      const script = async (sql: string): Promise<void> => {
        await client.query(sql);
      };
      const result = await work({ ...sessionOf(client), script });
      await client.query('COMMIT');
      return result;
    } catch (cause) {
      await client.query('ROLLBACK').catch(() => {
        broken = true;
      });
      throw cause;
    } finally {
      client.off('error', ignore);
      client.release(broken);
    }
  }

  async #guarded<Result>(work: () => Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (cause) {
      throw storeError(this.place, cause);
    }
  }
}

/** The row of a query that cannot be without one. */
export function onlyRow<Row>([row]: readonly Row[]): Row {
  if (row === undefined) throw new Error('a query that always gives a row gave none');
  return row;
}

const clientConfig = (url: string): pg.ClientConfig => ({
  connectionString: url,
  application_name: 'gridring',
  keepAlive: true,
  types,
});

const names = new Map<string, string>();

/** The same text has the same name in all of this process. */
function nameOf(text: string): string {
  const known = names.get(text) ?? `gridring-${names.size}`;
  names.set(text, known);
  return known;
}

function sessionOf(client: pg.Pool | pg.PoolClient): Session {
  const query = (text: string, values: readonly SqlValue[]) =>
    client.query({ name: nameOf(text), text, values: [...values] });
  return {
    rows: async <Row>(text: string, values: readonly SqlValue[] = []) =>
      (await query(text, values)).rows as readonly Row[],
    run: async (text, values = []) => (await query(text, values)).rowCount ?? 0,
  };
}

function placeOf(url: string): string {
  try {
    const { host, pathname } = new URL(url);
    return `the PostgreSQL database ${decodeURIComponent(pathname.slice(1))} at ${host === '' ? 'this computer' : host}`;
  } catch {
    // Without the cause, which shows the password.
    throw new SetupError(
      'database-url',
      'the URL of the database is not of the form postgres://user:password@host:port/name',
    );
  }
}
