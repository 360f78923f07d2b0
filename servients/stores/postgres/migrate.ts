/** Brings a database forward to the schema that this version knows; never back. */
import { readdirSync, readFileSync } from 'node:fs';
import { SetupError } from '../../../crypto/errors.js';
import { onlyRow, type Database, type Session } from './database.js';
import { lock } from './locks.js';

/** The SQL in order; the first makes version 1. */
export function migrations(): readonly string[] {
  const folder = new URL('../migrations/postgres/backend/', import.meta.url);
  return readdirSync(folder)
    .sort()
    .map((name) => readFileSync(new URL(name, folder), 'utf8'));
}

/**
 * Applies, in one transaction, the migrations that the database has not had; of processes that start at once, one does.
 * @throws SetupError `data-other-role`, `data-version`, `data-suite`, and the errors of `storeError`
 */
export async function migrate(database: Database, suite: string, scripts: readonly string[]): Promise<void> {
  await database.transaction(async (session) => {
    await lock(session, 'schema');
    const known = await stateOf(session);
    if (known === undefined) {
      await assertEmpty(session, database.place);
      await session.run('CREATE TABLE gridring_backend (version integer NOT NULL, suite text NOT NULL)');
      await session.run('INSERT INTO gridring_backend (version, suite) VALUES (0, $1)', [suite]);
    } else {
      assertFits(database.place, known, suite, scripts.length);
    }
    for (const sql of scripts.slice(known?.version ?? 0)) await session.script(sql);
    await session.run('UPDATE gridring_backend SET version = $1', [scripts.length]);
  });
}

/** @throws SetupError `data-version` when a newer version has brought the tables forward, and the errors of `storeError` */
export async function assertCurrent(database: Database, suite: string): Promise<void> {
  const known = await stateOf(database);
  if (known) assertFits(database.place, known, suite, migrations().length);
}

interface State {
  readonly version: number;
  readonly suite: string;
}

async function stateOf(session: Session): Promise<State | undefined> {
  const { exists } = onlyRow(
    await session.rows<{ readonly exists: boolean }>(`SELECT to_regclass('gridring_backend') IS NOT NULL AS exists`),
  );
  return exists ? onlyRow(await session.rows<State>('SELECT version, suite FROM gridring_backend')) : undefined;
}

/** Other tables there belong to somebody who does not expect us. */
async function assertEmpty(session: Session, place: string): Promise<void> {
  const { tables } = onlyRow(
    await session.rows<{ readonly tables: number }>(
      `SELECT count(*) AS tables FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace`,
    ),
  );
  if (tables === 0) return;
  throw new SetupError('data-other-role', `${place} belongs to another program: name an empty one`);
}

function assertFits(place: string, { version, suite }: State, ownSuite: string, newest: number): void {
  if (version > newest) {
    throw new SetupError(
      'data-version',
      `${place} was written by a newer version (schema ${version}, known here: ${newest}): update this program`,
    );
  }
  if (suite !== ownSuite) {
    throw new SetupError(
      'data-suite',
      `${place} was made for suite ${suite}, not ${ownSuite}: choose that suite, or another database`,
    );
  }
}
