/** Entries lie in partitions by the week in which they were received, made when they are needed. */
import pg from 'pg';
import { onlyRow, type Database, type Session } from './database.js';
import { weekOf, weekS } from '../weeks.js';
import { lock } from './locks.js';

/** After the day on which its week begins. */
const nameOf = (startS: number): string =>
  `reading_${new Date(startS * 1000).toISOString().slice(0, 10).replaceAll('-', '')}`;

/** What an insert is refused with when no partition takes it. */
const checkViolation = '23514';

export class Partitions {
  readonly #database: Database;
  readonly #made = new Set<number>();

  constructor(database: Database) {
    this.#database = database;
  }

  /** Runs `store` where the partition for what is received now exists. */
  async with<Result>(nowS: number, store: () => Promise<Result>): Promise<Result> {
    const startS = weekOf(nowS);
    if (!this.#made.has(startS)) await this.#make(startS);
    try {
      return await store();
    } catch (cause) {
      if (!(cause instanceof pg.DatabaseError && cause.code === checkViolation)) throw cause;
      // Its week was given up since, by a process whose clock is far ahead.
      await this.#make(startS);
      return store();
    }
  }

  async #make(startS: number): Promise<void> {
    const name = nameOf(startS);
    await this.#database.transaction(async (session) => {
      await lock(session, 'schema');
      if (await exists(session, name)) return;
      await session.script(
        `CREATE TABLE ${name} PARTITION OF reading FOR VALUES FROM (${startS}) TO (${startS + weekS});
         CREATE UNIQUE INDEX ON ${name} (meter, sequence)`,
      );
    });
    this.#made.add(startS);
  }
}

async function exists(session: Session, table: string): Promise<boolean> {
  const rows = await session.rows<{ readonly exists: boolean }>('SELECT to_regclass($1) IS NOT NULL AS exists', [
    table,
  ]);
  return onlyRow(rows).exists;
}

/** The oldest first. */
export async function partitions(
  session: Session,
): Promise<readonly { readonly name: string; readonly startS: number }[]> {
  const rows = await session.rows<{ readonly name: string }>(
    `SELECT relname AS name FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
     WHERE inhparent = 'reading'::regclass AND relname ~ '^reading_[0-9]{8}$' ORDER BY relname`,
  );
  return rows.map(({ name }) => {
    const [, year, month, day] = /_(\d{4})(\d{2})(\d{2})$/.exec(name) ?? [];
    return { name, startS: Date.parse(`${year}-${month}-${day}T00:00:00Z`) / 1000 };
  });
}
