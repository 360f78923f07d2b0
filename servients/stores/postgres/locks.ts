import type { Session } from './database.js';

/**
 * Locks of PostgreSQL's that lie on no table, each held until the end of its transaction. Two numbers: the first is ours
 * ("GR"), the second says what must not happen twice at once.
 */
const space = 0x4752;
const locks = { schema: 1, groups: 2 } as const;

export async function lock(session: Session, name: keyof typeof locks): Promise<void> {
  await session.run('SELECT pg_advisory_xact_lock($1, $2)', [space, locks[name]]);
}
