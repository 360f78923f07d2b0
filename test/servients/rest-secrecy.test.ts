/** What somebody has who carries the backend away: all of its files, and its key. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { toBase64Url, toHex, utf8 } from '../../crypto/bytes.js';
import { encode } from '../../crypto/cbor.js';
import { openGrant, parseGrant } from '../../crypto/envelope/grant.js';
import { openReading, parseReading } from '../../crypto/envelope/reading.js';
import { encodeSenml, toSenmlJson } from '../../crypto/envelope/senml.js';
import { GridringError } from '../../crypto/errors.js';
import { deriveKeyPair } from '../../crypto/hpke.js';
import { suiteP256, suiteX25519 } from '../../crypto/suite-node.js';
import { makeNeighbourhood, type Neighbourhood, type Principal } from '../support/neighbourhood.js';
import { activeKey, agree, makePlayers, type Player } from '../support/ring.js';
import { reading, TestMeter, uploadOf } from './rest-meters.js';
import { startBackend } from './rest-server.js';

const count = 4;

const filesOf = (folder: string): Buffer =>
  Buffer.concat(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => readFileSync(join(entry.parentPath, entry.name))),
  );

/** A number as a program might keep it: in binary, in CBOR, in text. */
function formsOfNumber(value: number): readonly Uint8Array[] {
  const binary = [true, false].map((littleEndian) => {
    const view = new DataView(new ArrayBuffer(8));
    view.setFloat64(0, value, littleEndian);
    return new Uint8Array(view.buffer);
  });
  return [...binary, encode(value), utf8(String(value))];
}

/** Bytes as they are, and as text. */
const formsOfBytes = (bytes: Uint8Array): readonly Uint8Array[] => [
  bytes,
  utf8(toHex(bytes)),
  utf8(toBase64Url(bytes)),
  utf8(Buffer.from(bytes).toString('base64')),
];

function plaintextsOf(meterId: string): readonly Uint8Array[] {
  return Array.from({ length: count }, (_, i) => reading(i + 1)).flatMap((each) => {
    const { powerW, reactivePowerVar, voltageV, currentA } = each;
    const pack = { meterId, readings: [each] };
    return [
      ...formsOfBytes(encodeSenml(pack)),
      utf8(JSON.stringify(toSenmlJson(pack))),
      ...[powerW, reactivePowerVar, voltageV, currentA].flatMap(formsOfNumber),
    ];
  });
}

const keysOf = (players: readonly Player[], meters: readonly TestMeter[]): readonly Uint8Array[] => [
  ...players.flatMap((player) => {
    const { groupKey, groupSeed, exporter } = activeKey(player);
    return [groupKey, groupSeed, exporter];
  }),
  ...meters.flatMap(({ readingKeys }) => readingKeys),
];

const secretsOf = (n: Neighbourhood): readonly Uint8Array[] =>
  [n.authority, n.gateway, n.operator, n.utility, n.household, n.backend, ...n.meters].map(({ secret }) => secret);

/** Everything that the backend's own secret can be used as. */
function expectBackendOpensNothing(n: Neighbourhood, { secret, certHash }: Principal, upload: readonly Uint8Array[][]) {
  const { suite } = n;
  const [grants = [], readings = []] = upload;
  for (const message of readings) {
    const key = secret.slice(0, suite.aeadKeyBytes);
    expect(() => openReading(suite, key, parseReading(suite, message))).toThrow(GridringError);
    expect(() => suite.open(key, new Uint8Array(12), new Uint8Array(0), parseReading(suite, message).sealed)).toThrow();
  }
  for (const message of grants) {
    const grant = parseGrant(message);
    for (const hpkeKey of [deriveKeyPair(suite, secret).key, suite.agreementKey(secret)]) {
      expect(() => openGrant(suite, { certHash, hpkeKey }, grant)).toThrow(GridringError);
      expect(() => openGrant(suite, { certHash: grant.reader, hpkeKey }, grant)).toThrow(GridringError);
    }
  }
}

it.each([suiteX25519, suiteP256])(
  'neither a reading nor any key that opens one is in the backend’s files, and its own key opens nothing: suite $name',
  async (suite) => {
    const n = makeNeighbourhood(suite, 3);
    const { players, published } = agree(n, { players: makePlayers(n) });
    const meters = players.map((player, i) => new TestMeter(n, player, { seed: `meter ${String(i)}` }));
    const parts = meters.map((meter) => meter.measure(count));
    const backend = await startBackend(n);
    const post = (resource: string, body: Uint8Array) =>
      backend.call('POST', `/api/v1/${resource}`, { body, as: n.gateway });
    for (const [resource, body] of [
      ['memberships', n.bundle(n.list())],
      ['epochs', published.record],
      ['readings', uploadOf(...parts)],
    ] as const) {
      expect((await post(resource, body)).status).toBe(200);
    }
    const running = filesOf(backend.folder);
    await backend.close();
    const files = Buffer.concat([running, filesOf(backend.folder), Buffer.from(JSON.stringify(backend.logged))]);

    // The search finds what is there: ciphertext, and what stands in the open.
    for (const { readings } of parts)
      for (const message of readings) expect(files.includes(Buffer.from(message))).toBe(true);
    expect(files.includes(Buffer.from(published.record))).toBe(true);

    const secrets = [...keysOf(players, meters), ...secretsOf(n)].flatMap(formsOfBytes);
    const plaintexts = meters.flatMap(({ id }) => plaintextsOf(id));
    expect(plaintexts.length).toBeGreaterThan(100);
    expect([...secrets, ...plaintexts].filter((sought) => files.includes(Buffer.from(sought)))).toEqual([]);
    const grants = parts.flatMap((part) => [...part.grants]);
    expectBackendOpensNothing(n, n.backend, [grants, parts.flatMap(({ readings }) => [...readings])]);
    await backend.remove();
  },
);
