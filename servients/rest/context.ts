/** What the routes stand on. */
import type { Suite } from '../../crypto/suite.js';
import type { AuditLog } from '../../things/audit-log.js';
import type { Backend } from '../../things/backend.js';
import type { Directory } from '../../things/directory.js';
import type { IdempotencyStore } from '../../things/idempotency-store.js';
import type { Endpoints } from '../../things/endpoints.js';
import type { Enrolments } from '../../things/enrolments.js';
import type { Proposals } from '../../things/proposals.js';
import type { Identity } from '../../things/parts.js';
import type { CommandRelay } from '../../things/command-relay.js';
import type { CommandStore } from '../../things/command-store.js';
import type { AccountsStore, BackendStore } from '../../things/stores.js';
import type { DirectorySearch } from '../search/directory-search.js';
import type { SseHub } from '../bindings/sse.js';
import type { Readiness } from '../operations/readiness.js';
import type { Logins } from '../issuer/logins.js';
import type { Access } from './access.js';
import type { AllTopics } from './event-topics.js';

export interface RestContext extends AllTopics {
  readonly backend: Backend;
  readonly directory: Directory;
  readonly endpoints: Endpoints;
  readonly search: DirectorySearch;
  readonly store: BackendStore;
  readonly commands: CommandRelay;
  readonly commandStore: CommandStore;
  readonly enrolments: Enrolments;
  readonly proposals: Proposals;
  readonly accounts: AccountsStore;
  readonly access: Access;
  /** Of the embedded issuer, where there is one. */
  readonly logins?: Logins;
  /** Where its pages are, without a slash at the end; known when the server listens. */
  readonly issuerOrigin: () => string;
  /** Whether reading the directory needs no token. */
  readonly directoryIsOpen: boolean;
  readonly audit: AuditLog;
  readonly readiness: Readiness;
  readonly idempotency: IdempotencyStore;
  readonly identity: Identity;
  readonly suite: Suite;
  readonly version: string;
  readonly nowS: () => number;
  readonly hub: SseHub;
  /** Where the backend's own certificate can be put in the place of the one in use. */
  readonly onCertificate?: (chain: readonly Uint8Array[]) => void;
}

/** `urn:gridring:backend:<id>` */
export const backendUrn = ({ identity }: Pick<RestContext, 'identity'>): string =>
  `urn:gridring:backend:${identity.id}`;
/** Of the directory that the backend keeps. */
export const directoryUrn = (context: Pick<RestContext, 'identity'>): string => `${backendUrn(context)}:directory`;
