import { onlyRow, type Session } from './database.js';

/**
 * Locks of PostgreSQL's that lie on no table, each held until the end of its transaction. Two numbers: the first is ours
 * ("GR"), the second says what must not happen twice at once.
 */
const space = 0x4752;
const locks = { schema: 1, groups: 2, retention: 3, commands: 4, proposals: 5 } as const;

export async function lock(session: Session, name: keyof typeof locks): Promise<void> {
  await session.run('SELECT pg_advisory_xact_lock($1, $2)', [space, locks[name]]);
}

/** @returns false where another transaction has it */
export async function tryLock(session: Session, name: keyof typeof locks): Promise<boolean> {
  const rows = await session.rows<{ readonly held: boolean }>('SELECT pg_try_advisory_xact_lock($1, $2) AS held', [
    space,
    locks[name],
  ]);
  return onlyRow(rows).held;
}
