/**
 * Plays the whole cast before any process starts: CA, membership authority, a certificate for everybody, readers' key
 * files, and the first signed membership list. A demonstration: a real deployment keeps CA and authority elsewhere.
 */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseCertificate } from '../../crypto/certificate.js';
import { SetupError } from '../../crypto/errors.js';
import { deriveKeyPair } from '../../crypto/hpke.js';
import {
  encodeMembershipBundle,
  roleBit,
  signMembershipList,
  type ListEntry,
  type Profile,
  type AuthorityList,
} from '../../crypto/membership.js';
import type { Suite, SuiteName } from '../../crypto/suite.js';
import { initCa, issue } from '../ca.js';
import { readText, writeIdentity, writePublic } from '../identity-files.js';
import { moveReaderFile, writeReaderFile } from '../reader-file.js';
import type { Impairment } from '../sim/impairment.js';
import type { LinkPlan } from '../sim/link.js';
import { between, seededRandom, type Range } from '../sim/random.js';

export interface DemoPlan {
  readonly folder: string;
  readonly suite: Suite;
  readonly profile: Profile;
  readonly meters: number;
  readonly speed: number;
  /** How many of the meters cannot be called, and wake up now and then. */
  readonly sleepy: number;
  /** The backend's port; the others follow it. */
  readonly port: number;
  /** The same seed makes the same faults. */
  readonly seed: string;
  /** What lies between gateway and meters; absent: nothing. */
  readonly network?: Impairment;
  /** Each meter's clock is wrong by up to so much. */
  readonly clockErrorS?: number;
  /** One process is killed after each such time, and started again. */
  readonly crashEveryMs?: Range;
}

export interface Deployment {
  readonly meterIds: readonly string[];
  readonly configs: { readonly backend: string; readonly gateway: string; readonly meter: string };
  readonly membership: string;
  readonly readers: { readonly utility: string; readonly household: string };
  readonly backendUrl: string;
  readonly created: boolean;
  /** What a simulator between gateway and meters has to pass on. */
  readonly links: readonly LinkPlan[];
}

/** What a demo folder was made for; the rest of a plan may change from start to start. */
interface DemoMarker {
  readonly format: number;
  readonly suite: SuiteName;
  /** Absent: full, which was all there was. */
  readonly profile?: Profile;
  readonly meters: number;
}

const address = '127.0.0.1';
const audience = 'gridring-demo';
const certificateDays = 365;

/**
 * Makes the deployment, or takes up the one that the folder holds.
 * @throws SetupError `demo-other-suite`, `demo-other-profile`, `demo-other-size`, `data-version`
 */
export function provisionDemo(plan: DemoPlan): Deployment {
  const { folder, suite, profile } = plan;
  const markerFile = join(folder, 'demo.json');
  const created = !existsSync(markerFile);
  const backendUrl = `http://${address}:${plan.port}`;
  const readers = {
    utility: join(folder, 'readers/utility.json'),
    household: join(folder, 'readers/household-01.json'),
  };
  const meterIds = Array.from({ length: plan.meters }, (_, i) => `meter-${String(i + 1).padStart(2, '0')}`);
  if (created) {
    makeCast(plan, meterIds);
    const marker: DemoMarker = { format: 1, suite: suite.name, profile, meters: plan.meters };
    writePublic(markerFile, `${JSON.stringify(marker)}\n`);
  } else {
    assertSameDemo(plan, readMarker(markerFile));
    // A folder of an earlier version has no operator.
    const operator = [join(folder, operatorFile)].filter((file) => existsSync(file));
    for (const file of [...Object.values(readers), ...operator]) moveReaderFile(file, backendUrl);
  }
  return {
    meterIds,
    ...writeConfigs(plan, meterIds),
    membership: join(folder, 'membership.cbor'),
    readers,
    backendUrl,
    created,
  };
}

function readMarker(path: string): Partial<DemoMarker> {
  const text = readText(path, 'marker of the demo');
  try {
    const marker: unknown = JSON.parse(text);
    if (typeof marker === 'object' && marker !== null) return marker;
    throw new TypeError('no object');
  } catch (cause) {
    throw new SetupError('data-corrupt', `${path} is damaged; choose another --data-dir`, cause);
  }
}

function assertSameDemo({ folder, suite, profile, meters }: DemoPlan, marker: Partial<DemoMarker>): void {
  if (marker.format !== 1) {
    throw new SetupError('data-version', `${folder} was made by another version; choose another --data-dir`);
  }
  if (marker.suite !== suite.name) {
    const advice = `start with --suite ${marker.suite}, or choose another --data-dir`;
    throw new SetupError('demo-other-suite', `${folder} was made for suite ${marker.suite}; ${advice}`);
  }
  const madeFor = marker.profile ?? 'full';
  if (madeFor !== profile) {
    const advice = `start with --profile ${madeFor}, or choose another --data-dir`;
    throw new SetupError('demo-other-profile', `${folder} was made for profile ${madeFor}; ${advice}`);
  }
  if (marker.meters !== meters) {
    const advice = `start with --meters ${marker.meters}, or choose another --data-dir`;
    throw new SetupError('demo-other-size', `${folder} was made for ${marker.meters} meters; ${advice}`);
  }
}

function makeCast({ folder, suite, profile, port }: DemoPlan, meterIds: readonly string[]): void {
  const nowS = Math.floor(Date.now() / 1000);
  const ca = initCa(suite, join(folder, 'ca'), { name: 'Gridring demo', nowS, random: randomBytes });
  const certify = (role: Parameters<typeof issue>[1]['role'], id: string, place: string | null) => {
    const issued = issue(ca, { role, id, nowS, days: certificateDays, random: randomBytes });
    if (place !== null) writeIdentity(suite, identityFiles(join(folder, place)), issued);
    return { ...issued, certificate: parseCertificate(suite, issued.chain[0] ?? new Uint8Array(0)) };
  };
  const authority = certify('authority', 'community', 'authority');
  const gateway = certify('gateway', 'gateway', 'gateway');
  certify('backend', 'backend', 'backend');
  const meters = meterIds.map((id) => certify('meter', id, join('meters', id)));
  const keyFile = (role: 'reader' | 'operator', id: string, place: string) => {
    const issued = certify(role, id, role === 'operator' ? 'operator' : null);
    const hpke = deriveKeyPair(suite, randomBytes(32));
    writeReaderFile(join(folder, place), {
      ...issued,
      suite,
      hpkeSecret: hpke.secret,
      root: ca.root.der,
      backend: { url: `http://${address}:${port}`, audience },
    });
    return { certificate: issued.certificate, hpkeKey: hpke.key.hpkePublicKey };
  };
  const readers = ['utility', 'household-01'].map((id) => keyFile('reader', id, join('readers', `${id}.json`)));
  const operator = keyFile('operator', 'operator', operatorFile);
  const [utility, household] = readers.map(({ certificate }) => certificate.certHash);
  const list: AuthorityList = {
    gid: randomBytes(16),
    version: 1,
    policy: {
      suite: suite.id,
      minMembers: 2,
      requiredMembers: [],
      gatewayIsMember: false,
      profile,
      rekeyIntervalS: 86_400,
      graceS: 600,
      readings: [
        ...(utility ? [{ reader: utility, meters: null }] : []),
        ...(household ? [{ reader: household, meters: meters.slice(0, 1).map((m) => m.certificate.certHash) }] : []),
      ],
      epochFloor: null,
    },
    entries: [
      { certHash: gateway.certificate.certHash, roles: roleBit.coordinator, hpkeKey: null },
      ...readers.map(({ certificate, hpkeKey }): ListEntry => ({
        certHash: certificate.certHash,
        roles: roleBit.reader,
        hpkeKey,
      })),
      { certHash: operator.certificate.certHash, roles: roleBit.operator, hpkeKey: operator.hpkeKey },
      ...meters.map(({ certificate }): ListEntry => ({
        certHash: certificate.certHash,
        roles: roleBit.member,
        hpkeKey: null,
      })),
    ],
    notBeforeS: nowS - 3_600,
    notAfterS: nowS + certificateDays * 86_400,
  };
  const { kid } = authority.certificate;
  const message = signMembershipList(suite, { signer: authority.signer, kid }, list);
  const everybody = [authority, gateway, operator, ...readers, ...meters].map(({ certificate }) => certificate.der);
  writePublic(join(folder, 'membership.cbor'), encodeMembershipBundle(message, [ca.issuing.der, ...everybody]));
}

const operatorFile = 'operator/operator.json';

const identityFiles = (folder: string) => ({
  certificate: join(folder, 'certificate.pem'),
  key: join(folder, 'key.pem'),
});

/** With a simulator, the ports that everybody knows are the simulator's, and what is behind it listens here. */
const hiddenPorts = 200;
/** Everybody will come, however busy the machine is, or bad the network; but after a crash nobody may. */
const windowMs = ({ network, crashEveryMs }: DemoPlan): number => {
  if (crashEveryMs) return 3_000;
  return network ? 60_000 : 30_000;
};

/** Ports, speed and faults may differ from start to start, so configurations are written anew. */
function writeConfigs(plan: DemoPlan, meterIds: readonly string[]): Pick<Deployment, 'configs' | 'links'> {
  const { folder, suite, speed, sleepy, port } = plan;
  const common = { suite: suite.name, root: '../ca/root.pem' };
  const own = { dataDir: 'data', certificate: 'certificate.pem', key: 'key.pem' };
  const [httpPort, coapPort] = [port + 1, port + 2];
  const behind = (known: number): number => (plan.network ? known + hiddenPorts : known);
  const meters = meterIds.map((id, index) => ({
    id,
    scheme: isHttpMeter(index, meterIds.length) ? ('http' as const) : ('coap' as const),
    port: port + 10 + index,
    index,
  }));
  const write = (place: string, config: object): string => {
    const path = join(folder, place, 'config.json');
    writePublic(path, `${JSON.stringify(config, null, 2)}\n`);
    return path;
  };
  const backend = write('backend', {
    id: 'backend',
    ...{ ...common, ...own, audience, listen: { address, port }, issuer: { embedded: true } },
    directory: { coap: { address, port, openRegistration: true } },
  });
  const gateway = write('gateway', {
    id: 'gateway',
    ...common,
    ...own,
    membership: '../membership.cbor',
    listen: {
      address,
      coapPort: behind(coapPort),
      httpPort: behind(httpPort),
      ...(plan.network && { advertise: { coapPort, httpPort } }),
    },
    backend: { url: `http://${address}:${port}`, audience },
    group: { windowMs: windowMs(plan) },
  });
  const meter = write('meters', {
    ...common,
    gateway: { td: `coap://${address}:${coapPort}/.well-known/wot` },
    meters: meters.map(({ id, scheme, port: known, index }) => ({
      id,
      dataDir: join(id, 'data'),
      certificate: join(id, 'certificate.pem'),
      key: join(id, 'key.pem'),
      ...(scheme === 'http' && { gatewayTd: `http://${address}:${httpPort}/.well-known/wot` }),
      ...(isSleepy(index, meterIds.length, sleepy) && { callable: false, wakeIntervalS }),
      listen: { scheme, address, port: behind(known), ...(plan.network && { advertise: { port: known } }) },
      ...(plan.clockErrorS !== undefined && { clockErrorS: clockErrorS(plan.seed, plan.clockErrorS, id) }),
      source: { kind: 'csv', dayIndex: index, speed },
    })),
  });
  const link = (protocol: LinkPlan['protocol'], known: number): LinkPlan => ({
    protocol,
    listen: { address, port: known },
    target: { address, port: behind(known) },
  });
  const links = [
    link('tcp', httpPort),
    link('udp', coapPort),
    ...meters.map(({ scheme, port: known }) => link(scheme === 'http' ? 'tcp' : 'udp', known)),
  ];
  return { configs: { backend, gateway, meter }, links };
}

const clockErrorS = (seed: string, most: number, id: string): number =>
  Math.round(between(seededRandom(seed, 'clock', id), { min: -most, max: most }));

/** The last two of a neighbourhood speak HTTP and JSON, so that both bindings are seen at work. */
const isHttpMeter = (index: number, count: number): boolean => index >= Math.max(2, count - 2);

/** From the second on, so that the first, which is called in every example, is the last to fall asleep. */
const isSleepy = (index: number, count: number, sleepy: number): boolean => (index + count - 1) % count < sleepy;
const wakeIntervalS = 5;
