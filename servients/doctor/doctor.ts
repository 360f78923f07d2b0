/** `gridring doctor`: everything that a role needs, checked one by one, and changed nowhere. */
import { join } from 'node:path';
import { GridringError } from '../../crypto/errors.js';
import { suiteByName } from '../../crypto/suite-node.js';
import { makeFetch } from '../bindings/tls-fetch.js';
import { hostOf, isLoopback } from '../bindings/host.js';
import {
  runningConfig,
  type BackendConfig,
  type Configs,
  type GatewayConfig,
  type MeterHostConfig,
} from '../config.js';
import { readCertificates } from '../identity-files.js';
import { systemNowS } from '../runtime.js';
import { failure, ok, warning, type Finding } from './finding.js';
import { checkIdentity } from './identity.js';
import { checkMemberships } from './membership.js';
import { checkNode, checkPort, checkRoom, checkSerial, type CheckedPort } from './machine.js';
import { checkDatabase, checkEpochs, checkServer } from './peers.js';

export interface Patient {
  readonly role: keyof Configs;
  readonly configFile: string | undefined;
  /** Of a backend or gateway that is to be reached, beside those of the configuration. */
  readonly url: string | undefined;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/** In the order in which they are found. */
export async function* examine({ role, configFile, url, environment }: Patient): AsyncGenerator<Finding> {
  yield checkNode();
  let config: Configs[keyof Configs];
  try {
    config = runningConfig(role, configFile, environment);
  } catch (error) {
    if (!(error instanceof GridringError)) throw error;
    const advice = `"gridring ${role} --config-schema" says what each field is, and which environment variable takes its place`;
    yield failure('configuration', `${error.message} [${error.code}]`, advice);
    return;
  }
  yield ok('configuration', `${configFile ?? 'the environment'} fits the schema of a ${role}`);
  if (config.operations) yield await checkPort({ protocol: 'tcp', ...config.operations });
  switch (role) {
    case 'backend':
      yield* examineBackend(config as BackendConfig, environment['DATABASE_URL']);
      break;
    case 'gateway':
      yield* examineGateway(config as GatewayConfig);
      break;
    case 'meter':
      yield* examineMeters(config as MeterHostConfig);
  }
  if (url !== undefined) yield* reach('server', url, config);
}

async function* examineBackend(config: BackendConfig, databaseUrl: string | undefined): AsyncGenerator<Finding> {
  const { suite, root, id, dataDir, listen } = config;
  yield* checkIdentity({ ...common(suite), root, files: config, role: 'backend', id });
  yield await checkPort({ protocol: 'tcp', ...listen });
  const { coap } = config.directory;
  if (coap) yield await checkPort({ protocol: 'udp', ...coap });
  if (coap?.openRegistration === true && !isLoopback(coap.address)) yield openRegistration(coap.address);
  const place = databaseUrl === undefined || databaseUrl === '' ? config.database : databaseUrl;
  yield await checkDatabase(place ?? join(dataDir, 'backend.db'), suite);
  if (place === undefined) yield await checkRoom(dataDir);
}

const openRegistration = (address: string): Finding =>
  warning(
    'directory.coap',
    `whoever reaches ${address} may register endpoints and Things`,
    'well, if that is meant; otherwise leave openRegistration out, or put DTLS in front (docs/dtls.md)',
  );

async function* examineGateway(config: GatewayConfig): AsyncGenerator<Finding> {
  const { suite, root, id, dataDir, listen, backend } = config;
  yield* checkIdentity({ ...common(suite), root, files: config, role: 'gateway', id });
  const { address, coapPort, httpPort } = listen;
  yield await checkPort({ protocol: 'udp', address, port: coapPort });
  yield await checkPort({ protocol: 'tcp', address, port: httpPort });
  yield await checkRoom(dataDir);
  yield* reach('backend', backend.url, config);
  yield* checkMemberships(config);
  const host = address === '0.0.0.0' ? '127.0.0.1' : hostOf(address);
  yield* await checkEpochs(`http://${host}:${httpPort}/${id}`);
}

async function* examineMeters({ suite, root, meters }: MeterHostConfig): AsyncGenerator<Finding> {
  for (const meter of meters) {
    const { id, dataDir, callable, listen, source } = meter;
    yield* checkIdentity({ ...common(suite), root, files: meter, role: 'meter', id });
    const port: CheckedPort = { ...listen, protocol: listen.scheme === 'coap' ? 'udp' : 'tcp' };
    if (callable) yield await checkPort(port);
    yield await checkRoom(dataDir);
    if (source.kind === 'p1' && source.port.startsWith('/dev/')) yield checkSerial(source.port);
  }
}

const common = (suite: Configs[keyof Configs]['suite']) => ({ suite: suiteByName(suite), nowS: systemNowS() });

async function* reach(name: string, url: string, { suite, root }: Configs[keyof Configs]): AsyncGenerator<Finding> {
  let roots: readonly Uint8Array[];
  try {
    roots = readCertificates(suiteByName(suite), root, 'root certificate').map(({ der }) => der);
  } catch (error) {
    // The identity's check has said so.
    if (error instanceof GridringError) return;
    throw error;
  }
  yield* await checkServer(name, url, makeFetch({ roots }));
}
