/** A process may be killed at any instant: before and after each write of a rekey, one at a time, on real databases. */
import { cpSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { equalBytes, toHex } from '../../crypto/bytes.js';
import { parseReading, parseUpload } from '../../crypto/envelope/reading.js';
import { parseAnnouncement, parseShare } from '../../crypto/ring/messages.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { makeTemporaryFolder, removeFolder } from '../servients/stores/sqlite-places.js';
import { at, neighbourhoodOf, payloadOf } from '../support/forge.js';
import { Crash, Town, type CrashPoint, type Who } from '../support/town.js';

const n = neighbourhoodOf(suiteX25519, 3);
const everybody = [0, 1, 2] as const;
const base = makeTemporaryFolder();

beforeAll(async () => {
  const town = new Town(n, base);
  await town.startAll();
  for (const i of everybody) await town.enrol(i);
  await town.rekey();
  for (const i of everybody) {
    await town.measure(i, 1);
    await town.upload(i);
  }
  town.close();
});
afterAll(() => {
  removeFolder(base);
});

/** What has left a meter must never contradict what leaves it later. */
class Wire {
  /** Ephemeral key → what it was sent for. */
  readonly #shares = new Map<string, string>();
  /** Attempt and meter → the share. */
  readonly #attempts = new Map<string, string>();
  /** Reading key and sequence → envelope. */
  readonly #envelopes = new Map<string, string>();
  readonly faults: string[] = [];
  highest = [0, 0] as readonly [epoch: number, attempt: number];

  readonly seen = (meter: number, action: string, message: Uint8Array, reply: Uint8Array): void => {
    if (action === 'rekey') this.#share(meter, message, reply);
    if (action === 'submitReadings') {
      for (const envelope of parseUpload(message).readings) this.#envelope(envelope);
    }
  };

  #share(meter: number, announcement: Uint8Array, share: Uint8Array): void {
    const { epoch, attempt } = parseAnnouncement(payloadOf(announcement));
    const { ephemeralKey } = parseShare(payloadOf(share));
    if (epoch > this.highest[0] || (epoch === this.highest[0] && attempt > this.highest[1])) {
      this.highest = [epoch, attempt];
    }
    this.#once(
      this.#shares,
      toHex(ephemeralKey),
      `${epoch}.${attempt} ${toHex(announcement)}`,
      'an ephemeral was used twice',
    );
    this.#once(this.#attempts, `${meter} ${epoch}.${attempt}`, toHex(share), 'an attempt was answered twice');
  }

  #envelope(envelope: Uint8Array): void {
    const { keyHash, sequence } = parseReading(n.suite, envelope);
    this.#once(this.#envelopes, `${toHex(keyHash)} ${sequence}`, toHex(envelope), 'a nonce was used twice');
  }

  #once(known: Map<string, string>, key: string, value: string, fault: string): void {
    if ((known.get(key) ?? value) !== value) this.faults.push(fault);
    known.set(key, value);
  }
}

/** One process enrols, the group is rekeyed, and all measure and deliver. */
async function live(town: Town, readings: number): Promise<void> {
  await town.enrol(0);
  await town.rekey();
  for (const i of everybody) {
    await town.measure(i, readings);
    await town.upload(i);
  }
}

/** @returns the writes of the process that is killed, and how often it was */
async function liveAndDie(who: Who, point: CrashPoint | undefined): Promise<readonly string[]> {
  const folder = makeTemporaryFolder();
  cpSync(base, folder, { recursive: true });
  const wire = new Wire();
  const town = new Town(n, folder, { onReply: wire.seen });
  try {
    await town.startAll(who);
    try {
      await town.start(who, point);
      await live(town, 3);
    } catch (error) {
      if (!(error instanceof Crash)) throw error;
    }
    const writes = town.writesOf(who);
    expect(town.hasCrashed(who)).toBe(point !== undefined);
    await town.start(who);
    await live(town, 4);
    await expectSound(town, wire);
    return writes;
  } finally {
    town.close();
    removeFolder(folder);
  }
}

async function expectSound(town: Town, wire: Wire): Promise<void> {
  expect(wire.faults).toEqual([]);
  const keys = await Promise.all(everybody.map((i) => town.activeKey(i)));
  for (const [i, key] of keys.entries()) {
    expect(key.name).toEqual(at(keys, 0).name);
    expect(equalBytes(key.groupKey, at(keys, 0).groupKey)).toBe(true);
    expect(key.name.epoch).toBeGreaterThan(1);
    const { highWater } = await town.memberState(i);
    expect([highWater.epoch, highWater.attempt]).toEqual(wire.highest);
  }
  const envelopes = (await town.delivered()).map((message) => parseReading(n.suite, message));
  for (const { certHash } of n.meters) {
    const own = envelopes.filter(({ meter }) => equalBytes(meter, certHash));
    expect(own.map(({ sequence }) => sequence)).toEqual([1, 2, 3, 4]);
    for (const [j, { previousHash }] of own.slice(1).entries()) expect(previousHash).toEqual(at(own, j).hash);
  }
}

describe.each([
  ['a meter', 0],
  ['a gateway', 'gateway'],
] as const)('%s that is killed', (_, who) => {
  it('before or after any of its writes leaves a group that is keyed again, and loses nothing', async () => {
    const writes = await liveAndDie(who, undefined);
    expect(writes.length).toBeGreaterThan(6);
    for (const [i, name] of writes.entries()) {
      for (const when of ['before', 'after'] as const) {
        await liveAndDie(who, { write: i + 1, when }).catch((cause: unknown) => {
          throw new Error(`killed ${when} write ${i + 1}, ${name}`, { cause });
        });
      }
    }
  }, 60_000);
});
