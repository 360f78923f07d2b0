/** Where a backend's people are reached: a SQLite database has one process, so a backend that runs is asked itself. */
import { GridringError } from '../../crypto/errors.js';
import type { Fetch } from '../bindings/tls-fetch.js';
import { hostOf } from '../bindings/host.js';
import type { BackendConfig } from '../config.js';
import { openBackendStores } from '../stores/backend.js';
import { peopleByApi } from './api.js';
import { peopleInDatabase } from './database.js';
import type { People } from './people.js';

export interface PeoplePlace {
  /** Of the backend; undefined where it is on another machine. */
  readonly config?: BackendConfig;
  /** Where it is asked when it runs; default: where its configuration has it listen. */
  readonly url?: string;
  /** Requests as the person who is logged in there. @throws SetupError `login-missing` */
  readonly fetchAt: (url: string) => Fetch;
  readonly nowS: () => number;
}

/** @throws what `work` throws; SetupError as `openBackendStores`, where the database cannot be used for another reason than a backend that has it */
export async function withPeople<Result>(
  { config, url, fetchAt, nowS }: PeoplePlace,
  work: (people: People) => Promise<Result>,
): Promise<Result> {
  const origin = config && originOf(config);
  const stores = config && (await storesUnlessRunning(config));
  if (stores) {
    try {
      return await work(peopleInDatabase({ stores, nowS, ...(origin !== undefined && { origin }) }));
    } finally {
      await stores.close();
    }
  }
  const at = url ?? origin ?? defaultUrl;
  return work(peopleByApi({ url: at, fetch: fetchAt(at) }));
}

const defaultUrl = 'http://127.0.0.1:8470';

async function storesUnlessRunning({ dataDir, database: configured, suite }: BackendConfig) {
  const { DATABASE_URL: fromEnvironment = '' } = process.env;
  const database = fromEnvironment === '' ? configured : fromEnvironment;
  try {
    return await openBackendStores({ dataDir, suite, ...(database !== undefined && { database }) });
  } catch (error) {
    if (error instanceof GridringError && error.code === 'data-locked') return undefined;
    throw error;
  }
}

/** As others name it; undefined where the configuration does not say. */
function originOf({ publicOrigin, listen: { address, port, tls } }: BackendConfig): string | undefined {
  if (publicOrigin !== undefined) return publicOrigin;
  if (port === 0 || address === '0.0.0.0' || address === '::') return undefined;
  return `${tls ? 'https' : 'http'}://${hostOf(address)}:${port}`;
}
