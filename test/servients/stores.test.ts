/** One suite for each interface of things/stores.ts, run against every implementation. */
import { describeAudit } from './stores/audit-suite.js';
import { describeAccountsStore } from './stores/accounts-suite.js';
import { describeBackendStore } from './stores/backend-suite.js';
import { describeCommandStore } from './stores/commands-suite.js';
import { describeDirectoryStore } from './stores/directory-suite.js';
import { describeEndpointStore } from './stores/endpoints-suite.js';
import { describeEnrolmentStore } from './stores/enrolment-suite.js';
import { describeProposalStore } from './stores/proposal-suite.js';
import { describeEvents } from './stores/events-suite.js';
import { describeGatewayStore } from './stores/gateway-suite.js';
import { describeIdempotencyStore } from './stores/idempotency-suite.js';
import { describeIssuerStore } from './stores/issuer-suite.js';
import { describeMeterStore } from './stores/meter-suite.js';
import {
  sqliteAudit,
  sqliteAccounts,
  sqliteBackendStores,
  sqliteCommandStores,
  sqliteDirectoryStores,
  sqliteEndpoints,
  sqliteEnrolments,
  sqliteProposals,
  sqliteEvents,
  sqliteGatewayStores,
  sqliteIdempotencyStores,
  sqliteIssuerStores,
  sqliteMeterStores,
} from './stores/sqlite-places.js';

describeMeterStore('a SQLite meter store', sqliteMeterStores);
describeGatewayStore('a SQLite gateway store', sqliteGatewayStores);
describeBackendStore('a SQLite backend store', sqliteBackendStores);
describeDirectoryStore('a SQLite directory store', sqliteDirectoryStores);
describeEvents('a SQLite backend store', sqliteEvents);
describeAudit('a SQLite backend store', sqliteAudit);
describeAccountsStore('a SQLite store of accounts', sqliteAccounts);
describeIdempotencyStore('a SQLite store of requests', sqliteIdempotencyStores);
describeIssuerStore('a SQLite issuer store', sqliteIssuerStores);
describeEndpointStore('a SQLite store of endpoints', sqliteEndpoints);
describeEnrolmentStore('a SQLite store of enrolments', sqliteEnrolments);
describeProposalStore('a SQLite store of proposals', sqliteProposals);
describeCommandStore('a SQLite store of commands', sqliteCommandStores);
