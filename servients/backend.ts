/** The backend as a process part: REST API, directory and event stream on one port, over one database. */
import { randomBytes } from 'node:crypto';
import type { FastifyBaseLogger, FastifyInstance } from 'fastify';
import { toHex } from '../crypto/bytes.js';
import type { CaCertificate, Certificate } from '../crypto/certificate.js';
import { toPem } from '../crypto/certificate/pem.js';
import { CertificateCache } from '../crypto/certificate/cache.js';
import { SetupError } from '../crypto/errors.js';
import type { Membership } from '../crypto/membership.js';
import type { Suite } from '../crypto/suite.js';
import { AuditLog } from '../things/audit-log.js';
import { Backend } from '../things/backend.js';
import { CommandRelay } from '../things/command-relay.js';
import { Directory } from '../things/directory.js';
import { Endpoints } from '../things/endpoints.js';
import { Enrolments, type EnrolmentAnswer } from '../things/enrolments.js';
import { Proposals } from '../things/proposals.js';
import type { Identity } from '../things/parts.js';
import type { BackendEvents, EpochRow } from '../things/stores.js';
import { embeddedIssuerName } from './auth/access-token.js';
import { trustIssuer, type IssuerConfig } from './auth/issuers.js';
import type { CoapObserver } from './bindings/coap-gate.js';
import { makeHttpApp, type HttpAppOptions } from './bindings/http-app.js';
import { hostOf, isLoopback } from './bindings/host.js';
import { SseHub, sseDefaults } from './bindings/sse.js';
import { linkPath, Logins } from './issuer/logins.js';
import type { CoreDirectory, CoreDirectoryParts } from './core-directory/core-directory.js';
import type { Passwords } from './issuer/password.js';
import { makeEmbeddedIssuer, type EmbeddedIssuer } from './issuer/embedded.js';
import { operateBackend } from './operations/backend.js';
import type { Operations } from './operations/operations.js';
import { Readiness } from './operations/readiness.js';
import { Access, type AccessParts, type GuardedRoute } from './rest/access.js';
import { backendUrn, directoryUrn, type RestContext } from './rest/context.js';
import { isPostgresUrl } from './database-url.js';
import { problemType } from './rest/errors.js';
import { DirectorySearch } from './search/directory-search.js';
import { eventTopics, type AllTopics } from './rest/event-topics.js';
import { mountRoutes } from './rest/routes.js';
import { registerOwnTds } from './own-tds.js';
import { systemNowS } from './runtime.js';
import { startHousekeeping } from './housekeeping.js';
import { openBackendStores, type BackendStores } from './stores/backend.js';

export interface BackendOptions {
  readonly identity: Identity;
  readonly suite: Suite;
  readonly trustedRoots: readonly Certificate[];
  /** Trusted once, for what was kept then. */
  readonly retiredRoots?: readonly Certificate[];
  /** Other roots are to be trusted from the next start on. */
  readonly onTrust?: (roots: readonly Certificate[]) => void;
  /** Another certificate of its own is here, for the same key. */
  readonly onCertificate?: (chain: readonly Uint8Array[]) => void;
  readonly dataDir: string;
  /** `postgres://…`, or a SQLite file. Default: a SQLite file in the data folder. */
  readonly database?: string;
  /** Entries of meters' chains, and of the audit log, that are older are given up. Default: they are kept. */
  readonly retention?: { readonly readingsDays?: number; readonly auditDays?: number };
  /** Port 0 takes a free one. */
  readonly listen: {
    readonly address: string;
    readonly port: number;
    /** Serves HTTPS: the chain, leaf first, and its key; PEM. */
    readonly tls?: { readonly certificate: string; readonly key: string };
    /** Lets it serve plain HTTP on an address that others reach. */
    readonly dangerouslyServePlainHttp?: boolean;
  };
  /** What callers' tokens must be for. */
  readonly audience: string;
  /** Of the software, as it is shown. */
  readonly version: string;
  readonly log: FastifyBaseLogger;
  /** Whether it issues tokens itself, under `<origin>/oidc`. */
  readonly embeddedIssuer?: boolean;
  /** Of those who log in there. Default: hashed with the usual cost. */
  readonly passwords?: Passwords;
  /** Whose pages may use the API from a browser. Default: nobody's but its own. */
  readonly cors?: { readonly origins?: readonly string[] };
  readonly directory?: {
    /** Whether reading it needs no token. Default: while it listens on loopback alone. */
    readonly open?: boolean;
    /** Where it is a CoRE Resource Directory over CoAP too. Default: nowhere. */
    readonly coap?: {
      readonly address: string;
      /** UDP; port 0 takes a free one. */
      readonly port: number;
      /** Whether whoever reaches it may register an endpoint. */
      readonly openRegistration: boolean;
      readonly observer?: CoapObserver;
      readonly limits?: CoreDirectoryParts['limits'];
    };
  };
  /** Others whose tokens count. */
  readonly issuers?: readonly IssuerConfig[];
  /** How TDs name this server where that is not its address and port, e.g. `https://backend.example`. */
  readonly publicOrigin?: string;
  /** Hears of every epoch that was verified and endorsed. */
  readonly onEpochEndorsed?: (epoch: Pick<EpochRow, 'gid' | 'epoch' | 'attempt'>) => void;
  readonly http?: Pick<HttpAppOptions, 'limits' | 'observer'>;
  /** Where its readiness and counts are shown, beside its own port. */
  readonly operations?: Operations;
  /** Default: the system's clock, in seconds. */
  readonly nowS?: () => number;
}

export interface RunningBackend {
  /** Origin of the server as its TDs name it, without a slash at the end. */
  readonly url: string;
  readonly port: number;
  /** Of the CoRE Resource Directory, where there is one. */
  readonly coapPort?: number;
  /** Where the first administrator sets a password, while nobody has one; usable once, for a day. */
  readonly firstLogin?: string;
  /** Asks whoever signs for the backend's own next certificate. @returns it, where it is there */
  renew(message: Uint8Array): Promise<EnrolmentAnswer>;
  /** Of the API and the directory, each with whom it lets in. */
  readonly routes: readonly GuardedRoute[];
  /** Takes no more requests, ends event streams, lets requests under way end for five seconds, and closes the database. */
  close(): Promise<void>;
}

/** Of requests under way when the process is told to stop: it takes no new ones, and no caller sees an error of these. */
const drainMs = 5_000;

/**
 * Opens the database, serves, and registers its own TD and the directory's.
 * @throws SetupError `plain-http`, `port-in-use`, `port-unusable` and those of `openBackendStores`
 */
export async function runBackend(options: BackendOptions): Promise<RunningBackend> {
  const { dataDir, database, suite } = options;
  assertPrivate(options.listen);
  const store = await openBackendStores({ dataDir, ...(database !== undefined && { database }), suite: suite.name });
  let app: FastifyInstance | undefined;
  let endHousekeeping: (() => Promise<void>) | undefined;
  let endAudit: (() => Promise<void>) | undefined;
  let issuer: EmbeddedIssuer | undefined;
  const readiness = options.operations?.readiness ?? new Readiness();
  let endStreams: (() => void) | undefined;
  let search: DirectorySearch | undefined;
  let coreDirectory: CoreDirectory | undefined;
  const close = async (): Promise<void> => {
    readiness.drain();
    await coreDirectory?.close();
    await app?.close();
    issuer?.end();
    await search?.close();
    await endHousekeeping?.();
    await endAudit?.();
    await store.close();
  };
  try {
    const tls = options.listen.tls && {
      ...options.listen.tls,
      clientRoots: options.trustedRoots.map(({ der }) => toPem(der)),
    };
    app = makeHttpApp({
      ...options.http,
      limits: { drainMs, ...options.http?.limits },
      log: options.log,
      problemType,
      ...(tls && { tls }),
      ...(options.cors?.origins && { origins: options.cors.origins }),
    });
    const hub = new SseHub(sseDefaults, () => {
      options.http?.observer?.refused('slow-reader');
      options.log.warn('a reader of events did not read and was cut off');
    });
    let url = options.publicOrigin ?? '';
    const issuers = (options.issuers ?? []).map((each) => trustIssuer(each, options.audience));
    const callers = { issuers, origins: () => namesOf(url) };
    const made = await makeContext(options, store, callers, () => url);
    search = made.search;
    const { topics, end } = eventTopics(hub, store.events, store.commands, made.directory, (error) => {
      options.log.warn({ err: error }, 'events could not be read');
    });
    app.addHook('preClose', async () => {
      endStreams?.();
      end();
      hub.close();
    });
    const context: RestContext = { ...made, ...topics, hub, readiness };
    operateBackend(options, store, context);
    endStreams = endStreamsInTime(context.access, store.events, options.log);
    const routes = mountRoutes(app, context);
    issuer = context.logins && embeddedIssuer(options, { ...context, logins: context.logins }, store);
    if (issuer) issuers.push({ ...issuer, name: embeddedIssuerName, audience: options.audience });
    issuer?.mount(app);
    const port = await listen(app, options.listen);
    url = options.publicOrigin ?? `${tls ? 'https' : 'http'}://${hostOf(options.listen.address)}:${port}`;
    issuer?.begin(url);
    const firstCode = await context.logins?.firstCode({ actor: backendUrn(context), requestId: null });
    await registerOwnTds(context, { ...options, url });
    coreDirectory = await openCoreDirectory(options, context, store, url);
    endAudit = await auditRun(context, options);
    endHousekeeping = startHousekeeping({
      ...context,
      issuerStore: store.issuer,
      log: options.log,
      readingsDays: options.retention?.readingsDays,
      auditDays: options.retention?.auditDays,
    });
    readiness.started();
    context.backend.tellOfTrust();
    const firstLogin = firstCode === undefined ? undefined : url + linkPath(firstCode);
    const renew = (message: Uint8Array) => context.enrolments.renew(message, () => undefined);
    return {
      ...{ url, port, routes, renew, close },
      ...(coreDirectory && { coapPort: coreDirectory.port }),
      ...(firstLogin !== undefined && { firstLogin }),
    };
  } catch (cause) {
    await close();
    throw cause;
  }
}

async function makeContext(
  options: BackendOptions,
  {
    backend: store,
    commands: commandStore,
    directory: directoryStore,
    events,
    audit: auditStore,
    idempotency,
    enrolments: kept,
    endpoints: endpointStore,
    proposals: keptProposals,
    accounts,
    issuer,
  }: BackendStores,
  callers: Pick<AccessParts, 'issuers' | 'origins'>,
  issuerOrigin: () => string,
): Promise<Omit<RestContext, 'hub' | 'readiness' | keyof AllTopics>> {
  const { identity, suite, trustedRoots, audience, version, log, onEpochEndorsed, nowS = systemNowS } = options;
  const directoryIsOpen = options.directory?.open ?? isLoopback(options.listen.address);
  const onEpochRecorded = onEpochEndorsed ?? (() => undefined);
  const backend = await Backend.load({
    suite,
    identity,
    trustedRoots,
    ...(options.retiredRoots && { retiredRoots: options.retiredRoots }),
    onTrust: options.onTrust,
    certificateCache: new CertificateCache(),
    nowS,
    log,
    version,
    store,
    events,
    onEpochRecorded,
  });
  const proofs = { suite, trustedRoots, directory: audience };
  const directory = new Directory({ store: directoryStore, nowS, proofs });
  const random = (length: number): Uint8Array => new Uint8Array(randomBytes(length));
  const endpoints = new Endpoints({ store: endpointStore, directory, suite, nowS, random });
  const audit = new AuditLog(auditStore, { suite, identity, nowS });
  const membershipsOf = (gid: Uint8Array): readonly Membership[] => backend.listsOf(gid);
  const commands = new CommandRelay({ suite, nowS, store: commandStore, membershipsOf });
  const roots = caCertificates(trustedRoots);
  const enrolments = new Enrolments({ suite, trustedRoots, store: kept, nowS });
  const proposals = new Proposals({
    ...{ suite, nowS, store: keptProposals },
    membershipOf: (gid) => membershipsOf(gid)[0],
  });
  const { embeddedIssuer: gatewaysHaveIssuer = false, passwords } = options;
  const access = new Access({
    ...{ suite, trustedRoots: roots, audience, backend, accounts, ...callers, nowS },
    ...{ gatewaysHaveIssuer, unbound: unboundTokens(options) },
  });
  return {
    ...(gatewaysHaveIssuer && {
      logins: new Logins({ store: issuer, accounts, audit, nowS, ...(passwords && { passwords }) }),
    }),
    issuerOrigin,
    backend,
    commands,
    commandStore,
    enrolments,
    proposals,
    directory,
    endpoints,
    directoryIsOpen,
    search: new DirectorySearch(directory),
    store,
    accounts,
    access,
    audit,
    idempotency,
    ...(options.onCertificate && { onCertificate: options.onCertificate }),
    identity,
    suite,
    version,
    nowS,
  };
}

/** Loaded only where it is asked for. */
async function openCoreDirectory(
  { directory: settings, log }: BackendOptions,
  context: RestContext,
  { events }: BackendStores,
  url: string,
): Promise<CoreDirectory | undefined> {
  const { coap } = settings ?? {};
  if (!coap) return undefined;
  const { runCoreDirectory } = await import('./core-directory/core-directory.js');
  const { address, port, ...rest } = coap;
  const { endpoints, directory, suite, directoryIsOpen: isOpen } = context;
  const directoryId = directoryUrn(context);
  const listen = { address, port };
  return runCoreDirectory({ ...rest, endpoints, directory, events, suite, log, isOpen, listen, directoryId, url });
}

/** Streams of whoever lost rights end at once where that is told, and at the latest after this. */
const recheckMs = 2_000;

function endStreamsInTime(access: Access, events: BackendEvents, log: FastifyBaseLogger): () => void {
  const recheck = (): void => {
    access.recheckStreams().catch((error: unknown) => {
      log.warn({ err: error }, 'whether event streams may go on could not be found out');
    });
  };
  const asleep = events.onWake(recheck);
  const timer = setInterval(recheck, recheckMs).unref();
  return () => {
    asleep();
    clearInterval(timer);
  };
}

/** A token that is bound to no key counts where nobody else is on its way: certificates have no need of such, others do. */
function unboundTokens({ listen, publicOrigin, embeddedIssuer }: BackendOptions): AccessParts['unbound'] {
  const isLocal = isLoopback(listen.address);
  const isPrivate = isLocal || listen.tls !== undefined || publicOrigin?.startsWith('https:') === true;
  return { ofCertificates: isLocal && publicOrigin === undefined && embeddedIssuer !== true, ofIssuers: isPrivate };
}

/** On this machine alone both names mean the same. */
function namesOf(url: string): readonly string[] {
  const byName = url.replace(/^(https?:\/\/)(?:127\.0\.0\.1|\[::1\])(?=:|$)/, '$1localhost');
  return byName === url ? [url] : [url, byName];
}

/** Logs start and stop, with what was configured. @returns what logs the stop, and signs how far the log has come */
async function auditRun(
  context: Pick<RestContext, 'audit' | 'identity' | 'suite' | 'version'>,
  { database, listen, audience, publicOrigin, retention, log }: BackendOptions,
): Promise<() => Promise<void>> {
  const { audit, identity, suite, version } = context;
  const actor = backendUrn(context);
  const run = { actor, subject: actor, outcome: 'done', requestId: null } as const;
  await audit.append({
    ...run,
    action: 'backend.start',
    details: {
      version,
      suite: suite.name,
      certHash: toHex(identity.certHash),
      // Its URL may hold a password.
      database: database !== undefined && isPostgresUrl(database) ? 'postgresql' : 'sqlite',
      listen: `${hostOf(listen.address)}:${listen.port}`,
      audience,
      ...(publicOrigin !== undefined && { publicOrigin }),
      ...(retention?.readingsDays !== undefined && { readingsDays: retention.readingsDays }),
      ...(retention?.auditDays !== undefined && { auditDays: retention.auditDays }),
    },
  });
  return async () => {
    try {
      await audit.append({ ...run, action: 'backend.stop', details: {} });
      await audit.checkpoint();
    } catch (error) {
      log.warn({ err: error }, 'the end of the audit log could not be signed');
    }
  };
}

const embeddedIssuer = (
  { suite, trustedRoots, audience, log }: BackendOptions,
  { backend, audit, logins, nowS }: Pick<RestContext, 'backend' | 'audit' | 'nowS'> & { readonly logins: Logins },
  { issuer: store, accounts }: BackendStores,
): EmbeddedIssuer =>
  makeEmbeddedIssuer({
    ...{
      store,
      accounts,
      logins,
      audit,
      suite,
      trustedRoots: caCertificates(trustedRoots),
      backend,
      audience,
      nowS,
      log,
    },
  });

const caCertificates = (certificates: readonly Certificate[]): readonly CaCertificate[] =>
  certificates.filter((certificate): certificate is CaCertificate => certificate.role === 'ca');

/** Whoever reads tokens on the way may use them. @throws SetupError `plain-http` */
function assertPrivate({ address, tls, dangerouslyServePlainHttp }: BackendOptions['listen']): void {
  if (tls || dangerouslyServePlainHttp === true || isLoopback(address)) return;
  throw new SetupError(
    'plain-http',
    `plain HTTP on ${address} would show tokens to everybody on the way: configure listen.tls, or listen on 127.0.0.1 ` +
      'behind a proxy that has TLS; on a network that you trust wholly, --dangerously-serve-plain-http',
  );
}

async function listen(app: FastifyInstance, { address, port }: BackendOptions['listen']): Promise<number> {
  try {
    await app.listen({ host: address, port });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EADDRINUSE') {
      const message = `port ${port} on ${address} is in use: end the process that has it, or choose another (--port)`;
      throw new SetupError('port-in-use', message, cause);
    }
    throw new SetupError('port-unusable', `cannot listen on ${address} port ${port}: choose others`, cause);
  }
  const bound = app.server.address();
  return bound === null || typeof bound === 'string' ? port : bound.port;
}
