/** What PostgreSQL and its client report, as errors that say who is at fault and what to do. */
import pg from 'pg';
import { GridringError, SetupError, UnavailableError } from '../../../crypto/errors.js';

/** What the client says without a code of its own. */
const closedPool = 'Cannot use a pool after calling end on the pool';
const lostConnection =
  /^(?:Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error)/;

/**
 * The GridringError that stands for a failure of the database at `place`; what is neither PostgreSQL's nor its client's is
 * returned as it is. UnavailableError `disk-full`, `disk-failed`, `data-busy`, `store-closed`, `database-unreachable`;
 * SetupError `database-refused`, `data-corrupt`
 */
export function storeError(place: string, cause: unknown): unknown {
  if (cause instanceof pg.DatabaseError) return ofServer(place, cause) ?? cause;
  if (!(cause instanceof Error) || cause instanceof GridringError) return cause;
  if (cause.message === closedPool) return new UnavailableError('store-closed', `${place} is closed`, cause);
  if (cause.message.startsWith('SASL')) return refused(place, cause);
  const ofSystem = 'code' in cause && typeof cause.code === 'string' && /^E[A-Z_]+$/.test(cause.code);
  return ofSystem || lostConnection.test(cause.message) ? unreachable(place, cause) : cause;
}

/** By SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html */
function ofServer(place: string, cause: pg.DatabaseError): GridringError | undefined {
  const state = cause.code ?? '';
  switch (state) {
    case '53100':
      return new UnavailableError('disk-full', `no room for ${place}: free some on the server's disk`, cause);
    case '58030':
      return new UnavailableError('disk-failed', `the disk under ${place} fails: look at the server's log`, cause);
    case '55P03':
    case '57014':
      return new UnavailableError('data-busy', `${place} is busy with something else`, cause);
    case 'XX001':
    case 'XX002':
      return new SetupError('data-corrupt', `${place} is damaged: put back a backup`, cause);
    case '3D000':
    case '42501':
      return refused(place, cause);
    case '25006':
      return unreachable(place, cause);
  }
  if (/^28/.test(state)) return refused(place, cause);
  return /^(?:08|53|57P)/.test(state) ? unreachable(place, cause) : undefined;
}

const refused = (place: string, cause: Error): SetupError =>
  new SetupError('database-refused', `${place} does not let us in: check user, password and name`, cause);

const unreachable = (place: string, cause: Error): UnavailableError =>
  new UnavailableError('database-unreachable', `${place} cannot be reached or written now`, cause);
