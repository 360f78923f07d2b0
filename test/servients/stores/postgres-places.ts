import { openPostgresBackendStore } from '../../../servients/stores/postgres/backend-store.js';
import type { BackendStores } from '../../../servients/stores/backend.js';
import type { EndpointStore } from '../../../things/endpoint-store.js';
import type { EnrolmentStore } from '../../../things/enrolment-store.js';
import type { ProposalStore } from '../../../things/proposal-store.js';
import type { IdempotencyStore } from '../../../things/idempotency-store.js';
import type { CommandStore } from '../../../things/command-store.js';
import type { IssuerStore, LoginStore } from '../../../things/issuer-store.js';
import type { BackendStore, DirectoryStore } from '../../../things/stores.js';
import type { PostgresServer } from '../../support/postgres.js';
import type { StoreWithAudit } from './audit-suite.js';
import type { StoreOfAccounts } from './accounts-suite.js';
import type { StoreWithEvents } from './events-suite.js';
import type { StoreFactory } from './factory.js';

const postgresPlaces =
  <Store>(server: PostgresServer, pick: (opened: BackendStores) => Store): StoreFactory<Store> =>
  async () => {
    const url = await server.newDatabase();
    return {
      open: async () => {
        const opened = await openPostgresBackendStore(url, 'x25519');
        return { store: pick(opened), close: () => opened.close() };
      },
      remove: async () => undefined,
    };
  };

export const postgresBackendStores = (server: PostgresServer): StoreFactory<BackendStore> =>
  postgresPlaces(server, ({ backend }) => backend);
export const postgresDirectoryStores = (server: PostgresServer): StoreFactory<DirectoryStore> =>
  postgresPlaces(server, ({ directory }) => directory);
export const postgresIssuerStores = (server: PostgresServer): StoreFactory<IssuerStore & LoginStore> =>
  postgresPlaces(server, ({ issuer }) => issuer);
export const postgresEndpoints = (server: PostgresServer): StoreFactory<EndpointStore> =>
  postgresPlaces(server, ({ endpoints }) => endpoints);
export const postgresProposals = (server: PostgresServer): StoreFactory<ProposalStore> =>
  postgresPlaces(server, ({ proposals }) => proposals);
export const postgresEnrolments = (server: PostgresServer): StoreFactory<EnrolmentStore> =>
  postgresPlaces(server, ({ enrolments }) => enrolments);
export const postgresIdempotencyStores = (server: PostgresServer): StoreFactory<IdempotencyStore> =>
  postgresPlaces(server, ({ idempotency }) => idempotency);
export const postgresEvents = (server: PostgresServer): StoreFactory<StoreWithEvents> =>
  postgresPlaces(server, (o) => o);
export const postgresAudit = (server: PostgresServer): StoreFactory<StoreWithAudit> => postgresPlaces(server, (o) => o);
export const postgresAccounts = (server: PostgresServer): StoreFactory<StoreOfAccounts> =>
  postgresPlaces(server, (o) => o);
export const postgresCommandStores = (server: PostgresServer): StoreFactory<CommandStore> =>
  postgresPlaces(server, ({ commands }) => commands);
