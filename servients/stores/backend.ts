/** The backend's database: a SQLite file of its own, or a PostgreSQL database that it shares with other backends. */
import { resolve } from 'node:path';
import { SetupError } from '../../crypto/errors.js';
import type { SuiteName } from '../../crypto/suite.js';
import type { CommandStore } from '../../things/command-store.js';
import type { AccountsStore, AuditStore, BackendEvents, BackendStore, DirectoryStore } from '../../things/stores.js';
import type { EndpointStore } from '../../things/endpoint-store.js';
import type { EnrolmentStore } from '../../things/enrolment-store.js';
import type { ProposalStore } from '../../things/proposal-store.js';
import type { IdempotencyStore } from '../../things/idempotency-store.js';
import type { IssuerStore, LoginStore } from '../../things/issuer-store.js';
import { isPostgresUrl, isUrl } from '../database-url.js';
import type { PoolStatus } from './postgres/database.js';
import { openDataFolder } from '../data-folder.js';

export interface BackendStores {
  readonly backend: BackendStore;
  readonly commands: CommandStore;
  readonly directory: DirectoryStore;
  readonly accounts: AccountsStore;
  readonly events: BackendEvents;
  readonly audit: AuditStore;
  readonly idempotency: IdempotencyStore;
  readonly issuer: IssuerStore & LoginStore;
  readonly enrolments: EnrolmentStore;
  readonly proposals: ProposalStore;
  readonly endpoints: EndpointStore;
  /** Of PostgreSQL's connections; undefined with SQLite. */
  readonly pool?: () => PoolStatus;
  /** @throws SetupError `data-version` when another process has brought the tables forward; UnavailableError */
  assertCurrent(): Promise<void>;
  /** What is under way ends first. */
  close(): Promise<void>;
}

export interface BackendDatabase {
  /** Of SQLite, and of the lock that keeps a second process out of it. */
  readonly dataDir: string;
  /** `postgres://…`, or the path of a SQLite file in place of the one in the data folder. */
  readonly database?: string;
  readonly suite: SuiteName;
}

/**
 * Opens or creates it. With PostgreSQL no data folder is needed, and none is made.
 * @throws SetupError and UnavailableError as `openDataFolder`, `openBackendStore` and `openPostgresBackendStore`;
 * SetupError `database-url` for the URL of anything else
 */
export async function openBackendStores({ dataDir, database, suite }: BackendDatabase): Promise<BackendStores> {
  // Each is loaded only where it is used.
  if (database !== undefined && isPostgresUrl(database)) {
    const { openPostgresBackendStore } = await import('./postgres/backend-store.js');
    return openPostgresBackendStore(database, suite);
  }
  if (database !== undefined && isUrl(database)) {
    throw new SetupError('database-url', 'the database is a URL postgres://user:password@host:port/name, or a file');
  }
  const { openBackendStore } = await import('./sqlite/backend-store.js');
  const folder = openDataFolder(dataDir, 'backend', suite);
  try {
    const opened = openBackendStore(database === undefined ? folder.databasePath : resolve(database));
    return {
      ...opened,
      // Nobody else has the file.
      assertCurrent: async () => undefined,
      close: async () => {
        opened.close();
        folder.close();
      },
    };
  } catch (cause) {
    folder.close();
    throw cause;
  }
}
