import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openBackendStore } from '../../../servients/stores/sqlite/backend-store.js';
import type { Closable, StoreOptions } from '../../../servients/stores/sqlite/database.js';
import { openGatewayStore } from '../../../servients/stores/sqlite/gateway-store.js';
import { openMeterStore } from '../../../servients/stores/sqlite/meter-store.js';
import type { EndpointStore } from '../../../things/endpoint-store.js';
import type { EnrolmentStore } from '../../../things/enrolment-store.js';
import type { ProposalStore } from '../../../things/proposal-store.js';
import type { IdempotencyStore } from '../../../things/idempotency-store.js';
import type { CommandStore } from '../../../things/command-store.js';
import type { IssuerStore, LoginStore } from '../../../things/issuer-store.js';
import type { BackendStore, DirectoryStore, GatewayStore, MeterStore } from '../../../things/stores.js';
import type { StoreWithAudit } from './audit-suite.js';
import type { StoreOfAccounts } from './accounts-suite.js';
import type { StoreWithEvents } from './events-suite.js';
import type { StoreFactory } from './factory.js';

/** In memory where the system has such a place: on a busy disk, synchronising takes nearly all of the tests' time. */
const temporary = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

export const makeTemporaryFolder = (parent = temporary): string => mkdtempSync(join(parent, 'gridring-test-'));
export const removeFolder = (folder: string): void => {
  rmSync(folder, { recursive: true, force: true });
};

/** `openAt` opens; `pick` takes the store that is tested out of what was opened. */
const sqlitePlaces =
  <Opened extends Closable, Store>(
    openAt: (path: string, options?: StoreOptions) => Opened,
    pick: (opened: Opened) => Store,
  ): StoreFactory<Store> =>
  async () => {
    const folder = makeTemporaryFolder();
    return {
      open: async (options) => {
        const opened = openAt(join(folder, 'store.db'), options);
        return {
          store: pick(opened),
          close: async () => {
            opened.close();
          },
        };
      },
      remove: async () => {
        removeFolder(folder);
      },
    };
  };

export const sqliteMeterStores: StoreFactory<MeterStore> = sqlitePlaces(openMeterStore, (store) => store);
export const sqliteGatewayStores: StoreFactory<GatewayStore> = sqlitePlaces(openGatewayStore, (store) => store);
export const sqliteBackendStores: StoreFactory<BackendStore> = sqlitePlaces(openBackendStore, (o) => o.backend);
export const sqliteDirectoryStores: StoreFactory<DirectoryStore> = sqlitePlaces(openBackendStore, (o) => o.directory);
export const sqliteIssuerStores: StoreFactory<IssuerStore & LoginStore> = sqlitePlaces(
  openBackendStore,
  (o) => o.issuer,
);
export const sqliteEndpoints: StoreFactory<EndpointStore> = sqlitePlaces(openBackendStore, (o) => o.endpoints);
export const sqliteProposals: StoreFactory<ProposalStore> = sqlitePlaces(openBackendStore, (o) => o.proposals);
export const sqliteEnrolments: StoreFactory<EnrolmentStore> = sqlitePlaces(openBackendStore, (o) => o.enrolments);
export const sqliteIdempotencyStores: StoreFactory<IdempotencyStore> = sqlitePlaces(
  openBackendStore,
  (o) => o.idempotency,
);
export const sqliteEvents: StoreFactory<StoreWithEvents> = sqlitePlaces(openBackendStore, (o) => o);
export const sqliteAudit: StoreFactory<StoreWithAudit> = sqlitePlaces(openBackendStore, (o) => o);
export const sqliteAccounts: StoreFactory<StoreOfAccounts> = sqlitePlaces(openBackendStore, (o) => o);
export const sqliteCommandStores: StoreFactory<CommandStore> = sqlitePlaces(openBackendStore, (o) => o.commands);
