/** What belongs to a backup of a role: its configuration, the files that this names, and its databases. */
import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { SetupError } from '../../crypto/errors.js';
import { mapPaths, readConfig, type Configs } from '../config.js';
import { isPostgresUrl } from '../database-url.js';
import { readText } from '../identity-files.js';
import { retiredFile } from '../trust-files.js';
import type { StoreRole } from '../stores/sqlite/migrate.js';

/** A role's own files have these names in every backup, whatever they had where it was made. */
export const configName = 'config.json';

interface NamedFile {
  /** In the backup. */
  readonly name: string;
  /** On this machine. */
  readonly path: string;
}

export interface NamedStore {
  /** Data folder in what is restored. */
  readonly place: string;
  /** Of SQLite; or the URL of a PostgreSQL database. */
  readonly database: string;
}

export interface Contents {
  readonly suite: Configs[StoreRole]['suite'];
  /** JSON; every file in it has its name in the backup. */
  readonly config: string;
  readonly files: readonly NamedFile[];
  readonly stores: readonly NamedStore[];
}

/**
 * Reads a role's configuration. Sources of readings are not the role's own: their paths become absolute.
 * @throws SetupError as `readConfig`
 */
export function contentsOf(role: StoreRole, configFile: string, databaseUrl: string | undefined): Contents {
  const { suite, files, stores } = partsOf(role, configFile, databaseUrl);
  const names = new Map(files.map(({ name, path }) => [path, name]));
  const folder = dirname(resolve(configFile));
  const places = new Map(foldersOf(role, configFile));
  const raw: unknown = JSON.parse(readText(configFile, `configuration of a ${role}`));
  const named = mapPaths(raw, (path) => {
    const absolute = resolve(folder, path);
    return names.get(absolute) ?? places.get(absolute) ?? absolute;
  });
  // The restored database lies in the data folder, or where the environment says.
  const config = { ...(named as Readonly<Record<string, unknown>>), database: undefined };
  return { suite, config: `${JSON.stringify(config, null, 2)}\n`, files, stores };
}

function partsOf(
  role: StoreRole,
  configFile: string,
  databaseUrl: string | undefined,
): Pick<Contents, 'suite' | 'files' | 'stores'> {
  switch (role) {
    case 'backend': {
      const { suite, root, certificate, key, dataDir, database } = readConfig(role, configFile);
      const place = databaseUrl ?? database ?? resolve(dataDir, 'backend.db');
      return {
        suite,
        files: [...rootFiles(root), ...identityFiles('', certificate, key)],
        stores: [{ place: 'data', database: isPostgresUrl(place) ? place : resolve(place) }],
      };
    }
    case 'gateway': {
      const { suite, root, certificate, key, dataDir, membership } = readConfig(role, configFile);
      const lists = [membership].flat().map((path, i) => ({ name: `membership-${i + 1}.cbor`, path }));
      return {
        suite,
        files: [...rootFiles(root), ...identityFiles('', certificate, key), ...lists],
        stores: [{ place: 'data', database: resolve(dataDir, 'gateway.db') }],
      };
    }
    case 'meter': {
      const { suite, root, meters } = readConfig(role, configFile);
      const own = meters.map(({ id, certificate, key }) => identityFiles(`${id}/`, certificate, key));
      return {
        suite,
        files: [...rootFiles(root), ...own.flat()],
        stores: meters.map(({ id, dataDir }) => ({ place: `${id}/data`, database: resolve(dataDir, 'meter.db') })),
      };
    }
  }
}

/** And those that were trusted before, where there are any. */
const rootFiles = (root: string): readonly NamedFile[] => [
  { name: 'root.pem', path: root },
  ...(existsSync(retiredFile(root)) ? [{ name: retiredFile('root.pem'), path: retiredFile(root) }] : []),
];

const identityFiles = (folder: string, certificate: string, key: string): readonly NamedFile[] => [
  { name: `${folder}certificate.pem`, path: certificate },
  { name: `${folder}key.pem`, path: key },
];

/** Data folders, and their places in the backup. */
function foldersOf(role: StoreRole, configFile: string): readonly (readonly [string, string])[] {
  if (role === 'meter') {
    return readConfig(role, configFile).meters.map(({ id, dataDir }) => [dataDir, `${id}/data`] as const);
  }
  return [[readConfig(role, configFile).dataDir, 'data']];
}

/** Names are parts of paths below a new folder, and lead nowhere else. @throws SetupError `backup-name` */
export function assertPlain(name: string): void {
  if (/^(?:[a-z0-9-]{1,64}\/)?[a-z0-9-]{1,64}(?:\.[a-z0-9]{1,8}){0,2}$/.test(name)) return;
  throw new SetupError('backup-name', 'the backup names a file that is none of a role');
}
