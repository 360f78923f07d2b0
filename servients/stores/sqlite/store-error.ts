/** What SQLite reports, as errors that say who is at fault and what to do. https://sqlite.org/rescode.html */
import { constants } from 'node:os';
import { dirname } from 'node:path';
import { SetupError, UnavailableError } from '../../../crypto/errors.js';

const primary = { busy: 5, locked: 6, readOnly: 8, ioError: 10, corrupt: 11, full: 13, cantOpen: 14, notDatabase: 26 };

/** No room: also a quota (EDQUOT) and a file size limit (EFBIG), which SQLite does not count as a full disk. */
const noRoom: ReadonlySet<number> = new Set([constants.errno.ENOSPC, constants.errno.EDQUOT, constants.errno.EFBIG]);

interface SqliteFailure {
  readonly code: unknown;
  readonly errcode?: unknown;
  readonly systemErrno?: unknown;
}

/**
 * The GridringError that stands for a failure of the database at `path`; what is none of SQLite's is returned as it is.
 * UnavailableError `disk-full`, `disk-failed`, `data-busy`, `store-closed`; SetupError `data-corrupt`, `data-unreadable`
 */
export function storeError(path: string, cause: unknown): unknown {
  if (!(cause instanceof Error && 'code' in cause)) return cause;
  const { code, errcode, systemErrno }: SqliteFailure = cause;
  if (code === 'ERR_INVALID_STATE') return new UnavailableError('store-closed', `${path} is closed`, cause);
  if (typeof errcode !== 'number') return cause;
  const folder = dirname(path);
  switch (errcode & 0xff) {
    case primary.full:
      return diskFull(path, cause);
    case primary.ioError:
      return typeof systemErrno === 'number' && noRoom.has(systemErrno)
        ? diskFull(path, cause)
        : new UnavailableError('disk-failed', `the disk under ${folder} fails: look at the system's log`, cause);
    case primary.busy:
    case primary.locked:
      return new UnavailableError('data-busy', `another program is writing to ${path}`, cause);
    case primary.corrupt:
    case primary.notDatabase:
      return new SetupError('data-corrupt', `${path} is damaged: put back a backup of ${folder}`, cause);
    case primary.readOnly:
    case primary.cantOpen:
      return unreadable(path, cause);
    default:
      return cause;
  }
}

/** What the file system reports. UnavailableError `disk-full`; SetupError `data-unreadable` */
export function fileError(path: string, cause: unknown): UnavailableError | SetupError {
  const errno = cause instanceof Error && 'errno' in cause ? cause.errno : undefined;
  return typeof errno === 'number' && noRoom.has(-errno) ? diskFull(path, cause) : unreadable(path, cause);
}

/** Who is told so by a peer comes again, and not at once: room is made by delivering, or by hand. */
const retryAfterS = 10;

export const diskFull = (path: string, cause?: unknown): UnavailableError =>
  new UnavailableError('disk-full', `no room for ${path}: free some, or raise its quota`, cause, retryAfterS);

const unreadable = (path: string, cause: unknown): SetupError =>
  new SetupError(
    'data-unreadable',
    `${path} cannot be read and written (${cause instanceof Error ? cause.message : 'unknown cause'}): ` +
      'let the user that runs this own it, or name another folder',
    cause,
  );
