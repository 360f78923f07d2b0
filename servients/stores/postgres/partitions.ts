/** Readings lie in partitions by the week in which they were received, made when they are needed. */
import { onlyRow, type Database, type Session } from './database.js';
import { lock } from './locks.js';

const weekS = 7 * 86_400;

const startOf = (receivedS: number): number => receivedS - (receivedS % weekS);
/** After the day on which its week begins. */
const nameOf = (startS: number): string =>
  `reading_${new Date(startS * 1000).toISOString().slice(0, 10).replaceAll('-', '')}`;

export class Partitions {
  readonly #database: Database;
  readonly #made = new Set<number>();

  constructor(database: Database) {
    this.#database = database;
  }

  /** Runs `store` where the partition for what is received now exists. */
  async with<Result>(nowS: number, store: () => Promise<Result>): Promise<Result> {
    const startS = startOf(nowS);
    if (!this.#made.has(startS)) await this.#make(startS);
    return store();
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
