/** Backups of roles of a neighbourhood in memory, and backends to fill and to back up. */
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { equalBytes } from '../../crypto/bytes.js';
import { GridringError } from '../../crypto/errors.js';
import { writeBackup } from '../../servients/backup/backup.js';
import { restoreBackup, type RestorePlan, type RestoreSummary } from '../../servients/backup/restore.js';
import type { Opening, Protection } from '../../servients/backup/sealing.js';
import type { BackendStores } from '../../servients/stores/backend.js';
import type { StoreRole } from '../../servients/stores/sqlite/migrate.js';
import { Backend } from '../../things/backend.js';
import { at, neighbourhoodOf, suites } from '../support/forge.js';
import { nowS } from '../support/neighbourhood.js';
import { agree } from '../support/ring.js';
import type { RoleFolder } from '../support/roles.js';
import { TestMeter, uploadOf } from './rest-meters.js';

export const n = neighbourhoodOf(at(suites, 0), 3);
export const agreed = agree(n, { epoch: 5 });
export const silent = { info: () => undefined, warn: () => undefined };

export interface Backups {
  readonly folder: string;
  readonly protection: Protection;
  readonly opening: Opening;
  /** In the folder, each time another one. */
  readonly newPath: () => string;
  /** @returns the backup's file */
  readonly backUp: (role: StoreRole, from: RoleFolder, databaseUrl?: string) => Promise<string>;
  /** Into a new folder, verified, unless it is told otherwise. */
  readonly restore: (file: string, overrides?: Partial<RestorePlan>) => Promise<RestoreSummary>;
  readonly remove: () => void;
}

export async function makeBackups(): Promise<Backups> {
  const folder = mkdtempSync(join(tmpdir(), 'gridring-backup-'));
  const identity = await generateX25519Identity();
  const protection = { recipients: [await identityToRecipient(identity)] };
  const opening = { identities: [identity] };
  let made = 0;
  const newPath = (): string => join(folder, `made-${++made}`);
  const onProgress = (): void => undefined;
  return {
    ...{ folder, protection, opening, newPath },
    backUp: async (role, { config: configFile }, databaseUrl) => {
      const out = `${newPath()}.age`;
      await writeBackup({ role, configFile, databaseUrl, out, protection, nowS, onProgress });
      return out;
    },
    restore: (file, overrides) =>
      restoreBackup({
        ...{ file, opening, to: newPath(), verify: true, databaseUrl: undefined, nowS, onProgress },
        ...overrides,
      }),
    remove: () => {
      rmSync(folder, { recursive: true });
    },
  };
}

/** The code with which it is refused. */
export const refusedWith = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'done',
    (error: unknown) => (error instanceof GridringError ? error.code : String(error)),
  );

const { certificate, certHash, kid, signer } = n.backend;
const certificates = [certificate.der, at(n.certificates, 0)];

export const loadBackend = ({ backend: store, events }: Pick<BackendStores, 'backend' | 'events'>): Promise<Backend> =>
  Backend.load({
    ...{ suite: n.suite, identity: { id: certificate.id, certHash, kid, signer, certificates }, store, events },
    ...{ trustedRoots: [n.root], log: silent, version: 'test', nowS: () => nowS, onEpochRecorded: () => undefined },
  });

/** Gives a backend a list, an epoch, and five readings of each of two meters. @returns what gives it five more of each */
export async function fillBackend(stores: Pick<BackendStores, 'backend' | 'events'>): Promise<() => Promise<void>> {
  const backend = await loadBackend(stores);
  const gateway = n
    .membership()
    .certificates.find((listed) => listed && equalBytes(listed.certHash, n.gateway.certHash));
  if (!gateway) throw new Error('the list names the gateway');
  await backend.publishMembership(n.bundle(n.list()));
  await backend.recordEpoch(gateway, agreed.published.record);
  const meters = agreed.players.slice(0, 2).map((player, i) => new TestMeter(n, player, { seed: `meter-${i}` }));
  const upload = async (): Promise<void> => {
    await backend.uploadReadings(gateway, uploadOf(...meters.map((meter) => meter.measure(5))));
  };
  await upload();
  return upload;
}
