/** `gridring backend|gateway|meter`: one role as one process, from a configuration file. */
import { Option, type Command } from 'commander';
import { toHex } from '../../crypto/bytes.js';
import { SetupError } from '../../crypto/errors.js';
import { suiteByName } from '../../crypto/suite-node.js';
import {
  configSchema,
  runningConfig,
  type BackendConfig,
  type Configs,
  type MeterHostConfig,
  type OperationsConfig,
} from '../config.js';
import { optionVariables, withEnvironment } from '../config-environment.js';
import { readIdentity, readText } from '../identity-files.js';
import { CertificateWatch } from '../certificate-watch.js';
import type { Operations } from '../operations/operations.js';
import type { SourceConfig } from '../sources/open-source.js';
import { RenewalLoop } from '../renewal.js';
import { finishRenewal, takeCertificate } from '../renewal-files.js';
import { makeLog, Refusals, systemNowS, type Runtime, type RuntimeEvent } from '../runtime.js';
import { Restarting } from '../restarting.js';
import { readTrust, takeTrust } from '../trust-files.js';
import { softwareVersion } from '../version.js';
import { addGatewayReplace } from './gateway.js';
import { addMeterVerbs } from './meter.js';
import { eventPrinter, exitCodes, printJson } from './output.js';
import { stopRequested } from './stop.js';

/** Ends the process part; its result is printed as the last event. */
type Stop = () => Promise<object>;

async function startBackend(config: BackendConfig, runtime: Runtime): Promise<Stop> {
  const begin = (restart: () => void): Promise<Stop> => beginBackend(config, runtime, restart);
  const end = async (stop: Stop): Promise<void> => {
    await stop();
    runtime.operations?.readiness.again();
  };
  const backend = await Restarting.start({ begin, end, log: runtime.log });
  return async () => (await backend.close())?.() ?? {};
}

async function beginBackend(config: BackendConfig, runtime: Runtime, restart: () => void): Promise<Stop> {
  const { runBackend } = await import('../backend.js');
  const suite = suiteByName(config.suite);
  finishRenewal(suite, config);
  const identity = readIdentity(suite, config);
  const take = (chain: readonly Uint8Array[]): void => {
    takeCertificate(suite, config, chain);
    runtime.log.info('certificate renewed');
    runtime.emit({ event: 'renewed', id: `urn:gridring:backend:${identity.id}` });
    restart();
  };
  // So that a password need not stand in a file.
  const { DATABASE_URL: fromEnvironment = '' } = process.env;
  const database = fromEnvironment === '' ? config.database : fromEnvironment;
  const refusals = new Refusals(runtime.log, runtime.operations?.metrics);
  const { coap } = config.directory;
  const backend = await runBackend({
    identity,
    suite,
    ...readTrust(suite, config.root),
    onTrust: (roots) => {
      if (takeTrust({ suite, rootFile: config.root, runtime }, roots)) restart();
    },
    onCertificate: take,
    dataDir: config.dataDir,
    ...(database !== undefined && { database }),
    retention: config.retention,
    ...(config.publicOrigin !== undefined && { publicOrigin: config.publicOrigin }),
    listen: listenOf(config),
    cors: config.cors,
    directory: { ...config.directory, ...(coap && { coap: { ...coap, observer: refusals.coap } }) },
    issuers: config.issuers,
    embeddedIssuer: config.issuer.embedded,
    audience: config.audience,
    version: runtime.version,
    log: runtime.log,
    onEpochEndorsed: ({ gid, epoch, attempt }) => {
      runtime.emit({ event: 'epoch-endorsed', gid: toHex(gid), epoch, attempt });
    },
    http: { observer: refusals.http },
    ...(runtime.operations && { operations: runtime.operations }),
  });
  const { url, firstLogin, coapPort } = backend;
  runtime.emit({
    ...{ event: 'backend-started', url },
    ...(coapPort !== undefined && { coapPort }),
    ...(firstLogin !== undefined && { firstLogin }),
  });
  const ending = new AbortController();
  const ask = async (message: Uint8Array): Promise<void> => {
    const chain = await backend.renew(message);
    if (chain) take(chain);
  };
  const renewal = new RenewalLoop({ suite, files: config, identity, nowS: systemNowS, ask, runtime });
  void renewal.run(ending.signal);
  return async () => {
    ending.abort();
    await backend.close();
    return {};
  };
}

/** With the files read, which are its own where it names no others. */
function listenOf({ listen, certificate, key }: BackendConfig) {
  const { tls, ...plain } = listen;
  if (!tls) return plain;
  return {
    ...plain,
    tls: {
      certificate: readText(tls.certificate ?? certificate, 'TLS certificate'),
      key: readText(tls.key ?? key, 'TLS key'),
    },
  };
}

/** What the command line says in place of the configuration. */
interface Overrides {
  /** Of a meter alone. */
  readonly source?: string;
  /** Of a backend alone. */
  readonly dangerouslyServePlainHttp?: true;
}

/** Each role loads what it needs and no more: on a small computer that is seconds. */
async function start(
  role: keyof Configs,
  configFile: string | undefined,
  { source, dangerouslyServePlainHttp }: Overrides,
  runtime: Runtime,
): Promise<Stop> {
  switch (role) {
    case 'backend': {
      const config = runningConfig(role, configFile, process.env);
      const listen = { ...config.listen, ...(dangerouslyServePlainHttp && { dangerouslyServePlainHttp }) };
      return startBackend({ ...config, listen }, runtime);
    }
    case 'gateway': {
      const config = runningConfig(role, configFile, process.env);
      const { runGateway } = await import('../gateway.js');
      const gateway = await runGateway(config, runtime);
      return () => gateway.close(drainMs);
    }
    case 'meter': {
      const config = runningConfig(role, configFile, process.env);
      const { parseSource } = await import('../sources/open-source.js');
      const { runMeterHost } = await import('../meter-host.js');
      const asked = source === undefined ? config : withSource(config, parseSource(source));
      const meters = await runMeterHost(asked, runtime);
      return async () => ({ meters: await meters.close(drainMs) });
    }
  }
}

/** @throws SetupError `source-ambiguous` unless there is one meter, whose source is replaced */
function withSource(config: MeterHostConfig, source: SourceConfig): MeterHostConfig {
  const [meter, ...others] = config.meters;
  if (!meter || others.length > 0) {
    throw new SetupError('source-ambiguous', '--source is for a configuration of one meter: name sources there');
  }
  return { ...config, meters: [{ ...meter, source }] };
}

/** How long a process that is told to stop delivers what it has. */
const drainMs = 500;

const descriptions: { readonly [Role in keyof Configs]: string } = {
  backend: 'run a backend with its directory',
  gateway: 'run a gateway',
  meter: 'run one or more meters',
};

interface Options extends Overrides {
  readonly config?: string;
  readonly configSchema?: true;
  readonly logLevel: string;
  readonly json?: true;
}

export function addRoles(program: Command): void {
  for (const role of ['backend', 'gateway', 'meter'] as const) {
    const command = program
      .command(role)
      .description(descriptions[role])
      .addOption(
        new Option('--config <file>', 'configuration, JSON; GRIDRING_… variables take the place of its fields').env(
          optionVariables.config,
        ),
      )
      .option('--config-schema', 'print the JSON Schema of the configuration, with the environment variables, and exit')
      .addOption(
        new Option('--log-level <level>', 'least level of the log on standard error')
          .choices(['debug', 'info', 'warn', 'error', 'silent'])
          .env(optionVariables.logLevel)
          .default('info'),
      )
      .option('--json', 'print events as JSON')
      .action(async ({ config, configSchema: wantsSchema, logLevel, json, ...overrides }: Options) => {
        if (wantsSchema) {
          printJson(withEnvironment(configSchema(role)));
          return;
        }
        const emit = eventPrinter(json ?? false, describe);
        await runRole(role, config, overrides, { log: makeLog(logLevel), emit, version: softwareVersion() });
      });
    if (role === 'backend') {
      command.option(
        '--dangerously-serve-plain-http',
        'serve plain HTTP on an address that others reach: whoever is on the way reads tokens and metadata',
      );
    }
    if (role === 'meter') {
      command.option('--source <source>', 'p1:/dev/ttyUSB0, p1:tcp://host:port, csv:FILE or module:FILE instead');
      addMeterVerbs(command);
    }
    if (role === 'gateway') addGatewayReplace(command);
  }
}

async function runRole(
  role: keyof Configs,
  configFile: string | undefined,
  overrides: Overrides,
  runtime: Runtime,
): Promise<void> {
  const stopping = stopRequested();
  try {
    const stop = await startRole(role, configFile, overrides, runtime);
    stopping.started();
    await stopping.asked;
    const ended = await stop();
    runtime.emit({ event: 'stopped', role, ...ended });
  } catch (error) {
    stopping.withdraw();
    throw error;
  }
  // Clients of ours may hold keep-alive sockets for seconds after everything is on disk.
  process.exit(exitCodes.done);
}

/** With what every role has around it: its port for operators, and the watch over its certificates. */
async function startRole(
  role: keyof Configs,
  configFile: string | undefined,
  overrides: Overrides,
  runtime: Runtime,
): Promise<Stop> {
  const config = runningConfig(role, configFile, process.env);
  const operations = await openOperations(role, config.operations, runtime);
  const stop = await start(role, configFile, overrides, { ...runtime, ...(operations && { operations }) });
  operations?.readiness.started();
  const certificates = 'meters' in config ? config.meters.map((meter) => meter.certificate) : [config.certificate];
  const endWatch = new CertificateWatch(suiteByName(config.suite), certificates, runtime).start();
  const endAnnouncing = config.discovery.mdns ? await announceRole(role, config, runtime) : undefined;
  return async () => {
    endWatch();
    await endAnnouncing?.();
    await operations?.leave();
    const ended = await stop();
    await operations?.close();
    return ended;
  };
}

async function announceRole<Role extends keyof Configs>(
  role: Role,
  config: Configs[Role],
  { log }: Runtime,
): Promise<() => Promise<void>> {
  const { announcementsOf } = await import('../discovery/announcements.js');
  const { announce } = await import('../discovery/mdns.js');
  return announce(announcementsOf(role, config), log);
}

async function openOperations(
  role: string,
  listen: OperationsConfig | undefined,
  { log, version }: Runtime,
): Promise<Operations | undefined> {
  if (listen === undefined) return undefined;
  const { Operations } = await import('../operations/operations.js');
  return Operations.open({ role, version, log, listen });
}

const describe = ({ event, ...fields }: RuntimeEvent): string => {
  const details = Object.entries(fields).map(
    ([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  return [event, ...details].join(' ');
};
