/** What somebody has who carries the backend or the gateway away, and what readers can open to whom nothing was granted. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromBase64Url, toHex, utf8 } from '../../crypto/bytes.js';
import { encode } from '../../crypto/cbor.js';
import { readingKeyHash } from '../../crypto/envelope/grant.js';
import { openReading, parseReading } from '../../crypto/envelope/reading.js';
import { decodeSealingState } from '../../crypto/envelope/sealing.js';
import { decodeSenml, toSenmlJson, type Reading } from '../../crypto/envelope/senml.js';
import { roleBit } from '../../crypto/membership.js';
import { decodeMemberState, type PreviousKey } from '../../crypto/ring/member-state.js';
import { BackendClient } from '../../servients/backend-client.js';
import { makeFetch } from '../../servients/bindings/tls-fetch.js';
import { readReaderFile } from '../../servients/reader-file.js';
import { Reader } from '../../servients/reader.js';
import { openBackendStore } from '../../servients/stores/sqlite/backend-store.js';
import { openMeterStore } from '../../servients/stores/sqlite/meter-store.js';
import { firstMembership, identityIn, makeReader, signList, suiteOf } from '../support/cast.js';
import { arrived, deploy, eventually, expectUnbroken, type TestDeployment } from '../support/deployment.js';
import { endAll, run, type Running } from '../support/processes.js';

const filesOf = (folder: string): Buffer =>
  Buffer.concat(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => readFileSync(join(entry.parentPath, entry.name))),
  );

/** Bytes as they are, in hex, and in base64 of either alphabet wherever in a longer text they begin. */
function formsOf(bytes: Uint8Array): readonly Uint8Array[] {
  const inText = [0, 1, 2].flatMap((before) => {
    const text = Buffer.concat([Buffer.alloc(before), bytes]).toString('base64');
    const whole = text.slice(before === 0 ? 0 : 4, Math.floor((before + bytes.length) / 3) * 4);
    return [utf8(whole), utf8(whole.replaceAll('+', '-').replaceAll('/', '_'))];
  });
  return [bytes, utf8(toHex(bytes)), utf8(toHex(bytes).toUpperCase()), ...inText];
}

/** Of a reading, what is long enough not to be there by chance: numbers in binary and CBOR, fields in JSON. */
function formsOfReading(reading: Reading): readonly Uint8Array[] {
  const fields = Object.entries(reading).filter(([name]) => /^(energy|power|voltage|current|reactive)/.test(name));
  const numbers = fields.flatMap(([, value]) => {
    const double = new Uint8Array(new Float64Array([Number(value)]).buffer);
    return Number.isInteger(value) ? [] : [double, double.toReversed(), encode(Number(value))];
  });
  const texts = fields.map(([name, value]) => utf8(`"${name}":${String(value)}`));
  return [...numbers, ...texts].filter(({ length }) => length >= 8);
}

interface MeterSecrets {
  readonly epochs: readonly PreviousKey[];
  readonly readingKey: Uint8Array;
}

/** From the database of a meter that is not running. */
async function secretsOf({ folder }: TestDeployment, meter: string): Promise<MeterSecrets> {
  const store = openMeterStore(join(folder, 'meters', meter, 'data/meter.db'));
  const states = await Promise.all((await store.groups()).map((gid) => store.loadMember(gid)));
  const epochs = states.flatMap((state) => {
    const { active, previous } = decodeMemberState(state!);
    return [active, previous?.key].filter((key) => key !== undefined && key !== null);
  });
  const { key } = decodeSealingState((await store.loadSealing())!);
  store.close();
  return { epochs, readingKey: key!.readingKey };
}

let d: TestDeployment;
let backend: Running;
const logs: string[] = [];
/** Of both epochs. */
let epochKeys: readonly PreviousKey[];
let readingKeys: readonly Uint8Array[];
/** Everything of backend and gateway: while they run, with what is still in their write-ahead logs, and afterwards. */
let carriedAway: Buffer;

/** One of those that are the test's, and nobody else's. */
const operationsPort = (): number => d.port + 9;

/** Until there are so many readings of each meter, the last of them under the epoch. */
async function measure(epoch: number, count: number): Promise<readonly MeterSecrets[]> {
  const [gateway, meters] = [d.start('gateway', '--log-level', 'debug'), d.start('meter', '--log-level', 'debug')];
  await gateway.event('epoch');
  await arrived(d.reader(), Object.fromEntries(d.meterIds.map((id) => [id, count])));
  for (const id of d.meterIds) {
    await eventually(async () => {
      expect((await d.reader().read(id, { last: 1 })).opened).toMatchObject([{ epoch }]);
    });
  }
  const ofMeters = await meters.end();
  carriedAway = Buffer.concat([carriedAway, filesOf(join(d.folder, 'gateway')), filesOf(join(d.folder, 'backend'))]);
  const { errors, out } = await gateway.end();
  logs.push(errors, out, ofMeters.errors, ofMeters.out);
  return Promise.all(d.meterIds.map((meter) => secretsOf(d, meter)));
}

beforeAll(async () => {
  d = await deploy({ meters: 3, https: true });
  // Nobody is left out for being late, nor let in later by a further epoch.
  d.configure('gateway', () => ({ group: { windowMs: 30_000 } }));
  d.configure('backend', () => ({ operations: { port: operationsPort(), leaveMs: 1_500 } }));
  backend = d.start('backend', '--log-level', 'debug');
  await backend.event('backend-started');
  carriedAway = Buffer.alloc(0);
  const secrets = [...(await measure(1, 10)), ...(await measure(2, 20))];
  epochKeys = secrets.flatMap(({ epochs }) => epochs);
  readingKeys = secrets.map(({ readingKey }) => readingKey);
});
afterAll(async () => {
  await endAll();
  d.remove();
});

describe('a reader', () => {
  it('of the policy opens everything, of both epochs', async () => {
    for (const meter of d.meterIds) {
      const readings = await expectUnbroken(d.reader(), meter);
      expect(new Set(readings.map(({ epoch }) => epoch))).toEqual(new Set([1, 2]));
    }
  });

  it('of one meter is not even told that there are others', async () => {
    const household = d.reader('household');
    expect(await household.meters()).toMatchObject([{ id: 'meter-01' }]);
    await expect(household.read('meter-02', { last: 1 })).rejects.toMatchObject({ status: 404, code: 'meter-unknown' });
  });

  it('with a certificate of the CA and in no list is refused', async () => {
    const { file } = makeReader(d, 'stranger');
    const stranger = new Reader(readReaderFile(file));
    await expect(stranger.meters()).rejects.toMatchObject({ status: 403, code: 'refused' });
    const { code, out } = await run('read', '--meter', 'meter-01', '--reader', file, '--json');
    expect([code, JSON.parse(out)]).toMatchObject([3, { code: 'refused' }]);
    expect(backend.log()).toContain('"code":"not-listed"');
  });

  it('who has stolen a certificate and not the key that opens grants, opens nothing', async () => {
    const utility = JSON.parse(readFileSync(d.readers.utility, 'utf8')) as object;
    const { hpkeSecret } = JSON.parse(readFileSync(d.readers.household, 'utf8')) as { hpkeSecret: string };
    const file = join(d.folder, 'readers/thief.json');
    writeFileSync(file, JSON.stringify({ ...utility, hpkeSecret }));
    const { code, out } = await run('read', '--meter', 'meter-02', '--reader', file, '--json');
    expect([code, JSON.parse(out)]).toMatchObject([3, { code: 'hpke-open-failed' }]);
  });

  it('whom a newer list names opens nothing without a rule, and with one nothing that was sealed before', async () => {
    const [visitor, auditor] = [makeReader(d, 'visitor'), makeReader(d, 'auditor')];
    const { list } = firstMembership(d);
    const entries = [visitor, auditor].map(({ certificate, hpkeKey }) => {
      return { certHash: certificate.certHash, roles: roleBit.reader, hpkeKey };
    });
    const bundle = signList(
      d,
      {
        ...list,
        version: 2,
        entries: [...list.entries, ...entries],
        policy: {
          ...list.policy,
          readings: [...list.policy.readings, { reader: auditor.certificate.certHash, meters: null }],
        },
      },
      [visitor.certificate, auditor.certificate],
    );
    const send = makeFetch({ roots: [readReaderFile(d.readers.utility).root.der] });
    const client = new BackendClient({ suite: suiteOf(d), trustedRoots: [], url: d.backendUrl, fetch: send });
    await client.publishMembership(bundle);
    const read = (file: string) => run('read', '--meter', 'meter-01', '--reader', file, '--last', '5', '--json');
    const [seen, closed] = await Promise.all([read(visitor.file), read(auditor.file)]);
    expect([seen.code, JSON.parse(seen.out)]).toMatchObject([4, { code: 'meter-unknown' }]);
    expect([closed.code, JSON.parse(closed.out)]).toMatchObject([3, { code: 'not-granted' }]);
    expect(closed.out).toContain('5 of 5 readings stay closed');
  });
});

describe('a backend that gets a SIGTERM', () => {
  it('says that it is not ready, and serves on until whoever balances load has had the time to see it', async () => {
    const ready = async (): Promise<number> =>
      (await fetch(`http://127.0.0.1:${String(operationsPort())}/health/ready`)).status;
    expect(await ready()).toBe(200);
    const ended = backend.end('SIGTERM');
    await eventually(async () => {
      expect(await ready()).toBe(503);
    });
    expect(await d.reader().meters()).toHaveLength(d.meterIds.length);
    expect((await ended).code).toBe(0);
  });
});

describe('the files and logs of backend and gateway', () => {
  let rows: readonly Uint8Array[];
  let plaintexts: readonly Uint8Array[];
  const has = (bytes: Uint8Array): boolean => carriedAway.includes(Buffer.from(bytes));

  beforeAll(async () => {
    const { errors, out } = await backend.end();
    const afterwards = [filesOf(join(d.folder, 'gateway')), filesOf(join(d.folder, 'backend'))];
    carriedAway = Buffer.concat([carriedAway, ...afterwards, Buffer.from([errors, out, ...logs].join('\n'))]);
    const store = openBackendStore(join(d.folder, 'backend/data/backend.db'));
    const stored = d.meterIds.map((meter) =>
      store.backend.entries(identityIn(d, `meters/${meter}`).certHash, 0, 1000, 'reading'),
    );
    rows = (await Promise.all(stored)).flat().map(({ message }) => message);
    store.close();
    const keys = new Map(readingKeys.map((key) => [toHex(readingKeyHash(suiteOf(d), key)), key]));
    plaintexts = rows.map((message) => {
      const sealed = parseReading(suiteOf(d), message);
      return openReading(suiteOf(d), keys.get(toHex(sealed.keyHash))!, sealed);
    });
  });

  it('hold every sealed reading, which the meters’ own keys open', () => {
    expect(rows.length).toBeGreaterThanOrEqual(60);
    expect(rows.every(has)).toBe(true);
    expect(new Set(readingKeys.map(toHex)).size).toBe(6);
  });

  it('hold no reading in the clear: no SenML, and none of its numbers', () => {
    for (const plaintext of plaintexts.filter((_, i) => i % 4 === 0)) {
      const { meterId, readings } = decodeSenml(plaintext);
      const text = utf8(JSON.stringify(toSenmlJson({ meterId, readings })));
      for (const sought of [...formsOf(plaintext), text, ...readings.flatMap(formsOfReading)]) {
        expect(has(sought), Buffer.from(sought).toString()).toBe(false);
      }
    }
  });

  it('hold no key of an epoch, no reading key, and no private key but their own', () => {
    expect(new Set(epochKeys.map(({ name }) => name.epoch))).toEqual(new Set([1, 2]));
    const others = ['authority', ...d.meterIds.map((id) => `meters/${id}`)].map((place) => identityIn(d, place).secret);
    const readers = [d.readers.utility, d.readers.household].flatMap((file) => {
      const { hpkeSecret } = JSON.parse(readFileSync(file, 'utf8')) as { hpkeSecret: string };
      return [readReaderFile(file).secret, fromBase64Url(hpkeSecret)];
    });
    const ofEpochs = epochKeys.flatMap(({ groupKey, groupSeed, exporter }) => [groupKey, groupSeed, exporter]);
    for (const secret of [...ofEpochs, ...readingKeys, ...others, ...readers]) {
      for (const sought of formsOf(secret)) expect(has(sought)).toBe(false);
    }
    // The search finds what is there, in whatever form.
    const own = identityIn(d, 'backend').secret;
    expect(formsOf(own).some(has)).toBe(true);
    const atMeter = filesOf(join(d.folder, 'meters/meter-01/data'));
    expect(readingKeys.some((key) => atMeter.includes(Buffer.from(key)))).toBe(true);
    expect(epochKeys.some(({ groupKey }) => atMeter.includes(Buffer.from(groupKey)))).toBe(true);
  });
});
