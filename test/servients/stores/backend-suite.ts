import { describe, expect, it } from 'vitest';
import { toHex } from '../../../crypto/bytes.js';
import type { BackendStore, EndorsedRecord, EpochRow, ListRow } from '../../../things/stores.js';
import { describeAccept } from './accept-suite.js';
import { placesOf, type StoreFactory } from './factory.js';
import { bytes, gid as sampleGid, grant, nowS, reading, readings } from './samples.js';

const epochRow = (gid: Uint8Array, epoch: number, attempt: number, listVersion = 1): EpochRow => ({
  gid,
  epoch,
  attempt,
  th2: bytes(32),
  listHash: hashOf(listVersion),
  listVersion,
  listRevision: 0,
  members: 5,
  reason: 'periodic',
  recordedS: nowS,
});

const listRow = (version: number, listHash = bytes(32), revision = 0): ListRow => ({
  version,
  revision,
  listHash,
  publishedS: nowS + version,
});
const hashOf = (version: number): Uint8Array => new Uint8Array(32).fill(version);

/** Epochs rest on lists that are there. */
async function withLists(store: BackendStore, ...versions: readonly number[]): Promise<Uint8Array> {
  const gid = bytes(16);
  for (const version of versions) await store.saveMembership(gid, listRow(version, hashOf(version)), bytes(10));
  return gid;
}

const endorsed = (record = bytes(10)): EndorsedRecord => ({ record, endorsement: bytes(10) });

export function describeBackendStore(name: string, factory: StoreFactory<BackendStore>): void {
  describe(name, () => {
    const places = placesOf(factory);

    it('takes a membership list only if it is newer than all of its group', async () => {
      const store = await places.store();
      const [gid, hash1, hash3, newest] = [bytes(16), bytes(32), bytes(32), bytes(1_000)];
      expect(await store.saveMembership(gid, listRow(1, hash1), bytes(10))).toBe(true);
      expect(await store.saveMembership(gid, listRow(3, hash3), newest)).toBe(true);
      expect(await store.saveMembership(gid, listRow(2), bytes(10))).toBe(false);
      expect(await store.saveMembership(gid, listRow(3), bytes(10))).toBe(false);
      expect(await store.saveMembership(gid, listRow(1, hash1), bytes(10))).toBe(false);
      expect(await store.loadMembership(gid)).toEqual(newest);
    });

    it('orders lists by version and then by revision', async () => {
      const store = await places.store();
      const [gid, hash, newest] = [bytes(16), bytes(32), bytes(1_000)];
      const save = (version: number, revision: number, listHash = bytes(32)) =>
        store.saveMembership(gid, listRow(version, listHash, revision), listHash === hash ? newest : bytes(10));
      expect(await save(1, 7)).toBe(true);
      expect(await save(2, 0)).toBe(true);
      expect(await save(2, 2, hash)).toBe(true);
      expect(await save(2, 1)).toBe(false);
      expect(await save(2, 2)).toBe(false);
      expect(await save(2, 2, hash)).toBe(true);
      expect(await store.loadMembership(gid)).toEqual(newest);
    });

    it('says of the newest list, published again, that it is the newest', async () => {
      const store = await places.store();
      const [gid, hash, bundle] = [bytes(16), bytes(32), bytes(100)];
      await store.saveMembership(gid, listRow(4, hash), bundle);
      expect(await store.saveMembership(gid, listRow(4, hash), bundle)).toBe(true);
    });

    it('finds superseded lists by their hash, and every group', async () => {
      const place = await places.place();
      const [a, b] = [Uint8Array.of(1), Uint8Array.of(2)];
      const [hash, bundle] = [bytes(32), bytes(500)];
      const first = await place.open();
      await first.store.saveMembership(b, listRow(1, hash), bundle);
      await first.store.saveMembership(b, listRow(2), bytes(10));
      await first.store.saveMembership(a, listRow(1), bytes(10));
      await first.close();
      const { store } = await place.open();
      expect(await store.membershipByHash(hash)).toEqual(bundle);
      expect(await store.membershipByHash(bytes(32))).toBeUndefined();
      expect(await store.groups()).toEqual([a, b]);
    });

    it('keeps every list of a group with the time it came, the newest first', async () => {
      const store = await places.store();
      const gid = bytes(16);
      const [first, third] = [listRow(1), listRow(3)];
      for (const list of [first, third]) await store.saveMembership(gid, list, bytes(10));
      await store.saveMembership(gid, { ...third, publishedS: nowS + 900 }, bytes(10));
      expect(await store.membershipLists(gid)).toEqual([third, first]);
      expect(await store.membershipLists(bytes(16))).toEqual([]);
    });

    it('keeps one record for each epoch, with the endorsement that it was first given', async () => {
      const store = await places.store();
      const gid = await withLists(store, 1);
      const row = epochRow(gid, 5, 1);
      const first = endorsed(bytes(9_000));
      expect(await store.saveEpoch(row, first)).toEqual({ endorsement: first.endorsement, fresh: true });
      expect(await store.saveEpoch(row, endorsed())).toEqual({ endorsement: first.endorsement, fresh: false });
      const { listHash } = row;
      expect(await store.loadEpoch(gid, 5, 1)).toMatchObject({ ...first, listHash });
      expect(await store.loadEpoch(gid, 6, 1)).toBeUndefined();
      await expect(store.saveEpoch(epochRow(gid, 5, 1), endorsed())).rejects.toMatchObject({ code: 'epoch-stale' });
      const other = await withLists(store, 1);
      expect((await store.saveEpoch(epochRow(other, 5, 1), endorsed())).fresh).toBe(true);
    });

    it('takes a record that comes late, if the lists ascend with the epochs', async () => {
      const store = await places.store();
      const gid = await withLists(store, 1, 2, 3, 4, 5);
      const save = (epoch: number, attempt: number, listVersion: number) =>
        store.saveEpoch(epochRow(gid, epoch, attempt, listVersion), endorsed());
      const late = [[5, 1, 2] as const, [4, 1, 2] as const, [8, 1, 4] as const, [1, 1, 1] as const, [6, 1, 3] as const];
      const misplaced = [[10, 1, 3] as const, [7, 1, 2] as const, [7, 1, 5] as const, [3, 1, 3] as const];
      await save(4, 2, 2);
      await save(9, 1, 4);
      for (const [epoch, attempt, list] of late) {
        expect((await save(epoch, attempt, list)).fresh).toBe(true);
      }
      for (const [epoch, attempt, list] of misplaced) {
        await expect(save(epoch, attempt, list)).rejects.toMatchObject({ code: 'membership-rollback' });
      }
      expect((await store.epochs(gid, 2)).map(({ epoch }) => epoch)).toEqual([9, 8]);
    });

    it('lets one of two different records for one epoch win', async () => {
      const place = await places.place();
      const [one, two] = [(await place.open()).store, (await place.open()).store];
      const gid = await withLists(one, 1);
      const outcomes = await Promise.allSettled([one, two].map((s) => s.saveEpoch(epochRow(gid, 1, 0), endorsed())));
      expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    });

    it('lists epochs, the newest first', async () => {
      const store = await places.store();
      const gid = await withLists(store, 1);
      const rows = [epochRow(gid, 1, 0), epochRow(gid, 1, 1), epochRow(gid, 2, 0)];
      for (const row of rows) await store.saveEpoch(row, endorsed());
      expect(await store.epochs(gid, 10)).toEqual(rows.toReversed());
      expect(await store.epochs(gid, 2)).toEqual(rows.toReversed().slice(0, 2));
      for (const [i, row] of rows.entries()) {
        expect(await store.epochs(gid, 10, row)).toEqual(rows.slice(0, i).toReversed());
      }
    });

    it('gives readings page by page, ascending, and the last ones', async () => {
      const store = await places.store();
      const meter = bytes(32);
      const items = readings(meter, 1, 10);
      await store.accept([...items.slice(5), ...items.slice(0, 5), reading(bytes(32), 4)], nowS);
      const sequences = async (page: ReturnType<BackendStore['entries']>): Promise<readonly number[]> =>
        (await page).map(({ sequence }) => sequence);
      expect(await sequences(store.entries(meter, 0, 3))).toEqual([1, 2, 3]);
      expect(await sequences(store.entries(meter, 3, 100))).toEqual([4, 5, 6, 7, 8, 9, 10]);
      expect(await sequences(store.lastEntries(meter, 3))).toEqual([8, 9, 10]);
      expect(await sequences(store.lastEntries(bytes(32), 3))).toEqual([]);
      const [first] = await store.entries(meter, 0, 1);
      const { sequence, epoch, attempt, message } = reading(meter, 1);
      expect(first).toEqual({
        kind: 'reading',
        meter,
        sequence,
        epoch,
        attempt,
        receivedS: nowS,
        message: items[0]?.message ?? message,
      });
    });

    it('gives the entries of one kind alone, and counts the readings among them', async () => {
      const store = await places.store();
      const meter = bytes(32);
      const kinds = ['reading', 'gap', 'reading', 'checkpoint', 'reading', 'checkpoint'] as const;
      const items = kinds.map((kind, i) => ({ ...reading(meter, i + 1), kind }));
      await store.accept(items.slice(0, 4), nowS);
      expect(await store.accept(items.slice(2), nowS)).toEqual({ fresh: 2 });
      const of = async (page: ReturnType<BackendStore['entries']>) =>
        (await page).map(({ kind, sequence }) => [kind, sequence]);
      expect(await of(store.entries(meter, 0, 10))).toEqual(kinds.map((kind, i) => [kind, i + 1]));
      expect(await of(store.entries(meter, 1, 2, 'reading'))).toEqual([
        ['reading', 3],
        ['reading', 5],
      ]);
      expect(await of(store.entries(meter, 4, 10, 'checkpoint'))).toEqual([['checkpoint', 6]]);
      expect(await of(store.lastEntries(meter, 1, 'gap'))).toEqual([['gap', 2]]);
      expect(await of(store.lastEntries(meter, 2))).toEqual([
        ['reading', 5],
        ['checkpoint', 6],
      ]);
      expect(await store.readingCounts()).toEqual([{ meter, count: 3, lastSequence: 6 }]);
    });

    it('counts the readings of each meter, and gives the last sequence', async () => {
      const store = await places.store();
      const [a, b] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
      await store.accept([...readings(b, 5, 9), reading(b, 2), reading(a, 1), grant(bytes(32), a, 1)], nowS);
      await store.accept(readings(b, 5, 10), nowS);
      expect(await store.readingCounts()).toEqual([
        { meter: a, count: 1, lastSequence: 1 },
        { meter: b, count: 7, lastSequence: 10 },
      ]);
      const unknown = new Uint8Array(32).fill(3);
      expect(await store.readingCounts([unknown, b])).toEqual([{ meter: b, count: 7, lastSequence: 10 }]);
      expect(await store.readingCounts([])).toEqual([]);
    });

    it('gives the grants of a meter to one reader, the newest last', async () => {
      const store = await places.store();
      const [meter, reader, other] = [bytes(32), bytes(32), bytes(32)];
      const [first, second] = [grant(meter, reader, 9), grant(meter, reader, 1)];
      await store.accept([first, grant(meter, other, 1), grant(other, reader, 1)], nowS);
      await store.accept([second], nowS);
      expect(await store.grants(meter, reader)).toEqual([first.message, second.message]);
      const granted = await store.grantedEpochs(reader, 0, 10);
      expect(granted.map((row) => [toHex(row.meter), row.epoch])).toEqual([
        [toHex(meter), 9],
        [toHex(other), 1],
        [toHex(meter), 1],
      ]);
      const [one, two] = granted;
      expect(await store.grantedEpochs(reader, one!.position, 1)).toEqual([two]);
      expect(await store.grantedEpochs(bytes(32), 0, 10)).toEqual([]);
      expect(await store.grantedEpochs(reader, 0, 1, [other])).toEqual([two]);
      expect(await store.grantedEpochs(reader, 0, 10, [])).toEqual([]);
      expect(first.gid).toEqual(sampleGid);
    });
  });

  describe(`${name} gives up old entries`, () => {
    const places = placesOf(factory);
    const weekS = 7 * 86_400;
    const sequencesOf = async (store: BackendStore, meter: Uint8Array): Promise<readonly number[]> =>
      (await store.entries(meter, 0, 5_000)).map(({ sequence }) => sequence);
    /** Until none is left. */
    async function drop(store: BackendStore, beforeS: number): Promise<void> {
      while ((await store.dropOldEntries(beforeS)) > 0);
    }
    const span = (meter: Uint8Array, first: number, last: number) => {
      const { previousHash } = reading(meter, first);
      return { first, last, previousHash, hash: reading(meter, last).hash };
    };

    it('by the week, and remembers which they were and what chains them', async () => {
      const store = await places.store();
      const [a, b] = [bytes(32), bytes(32)];
      await store.accept([...readings(a, 1, 1_200), ...readings(b, 1, 3), ...readings(b, 7, 8)], nowS);
      await store.accept([...readings(a, 1_201, 1_202), ...readings(b, 4, 4)], nowS + weekS);
      await drop(store, nowS);
      expect(await sequencesOf(store, b)).toEqual([1, 2, 3, 4, 7, 8]);
      await drop(store, nowS + weekS);
      expect(await sequencesOf(store, a)).toEqual([1_201, 1_202]);
      expect(await sequencesOf(store, b)).toEqual([4]);
      expect(await store.droppedEntries(a)).toEqual([span(a, 1, 1_200)]);
      expect(await store.droppedEntries(b)).toEqual([span(b, 1, 3), span(b, 7, 8)]);
      expect(await store.droppedEntries(bytes(32))).toEqual([]);
      await drop(store, nowS + 2 * weekS);
      expect(await store.droppedEntries(a)).toEqual([span(a, 1, 1_202)]);
      expect(await store.droppedEntries(b)).toEqual([span(b, 1, 4), span(b, 7, 8)]);
      expect((await store.readingCounts()).map(({ count }) => count)).toEqual([0, 0]);
    });

    it('and takes none of them again, only what continues them or fills a gap between them', async () => {
      const store = await places.store();
      const meter = bytes(32);
      await store.accept([...readings(meter, 1, 5), ...readings(meter, 8, 9)], nowS);
      await drop(store, nowS + weekS);
      const later = nowS + 2 * weekS;
      expect(await store.accept(readings(meter, 1, 5), later)).toEqual({ fresh: 0 });
      const forged = { ...reading(meter, 5), hash: bytes(32) };
      await expect(store.accept([forged], later)).rejects.toMatchObject({ code: 'sequence-conflict' });
      for (const broken of [
        { ...reading(meter, 6), previousHash: bytes(32) },
        { ...reading(meter, 7), hash: bytes(32) },
      ]) {
        await expect(store.accept([broken], later)).rejects.toMatchObject({ code: 'chain-broken' });
      }
      const unchained = { ...reading(meter, 10), previousHash: bytes(32) };
      await expect(store.accept([unchained], later)).rejects.toMatchObject({ code: 'chain-broken' });
      expect(await store.accept(readings(meter, 4, 10), later)).toEqual({ fresh: 3 });
      expect(await sequencesOf(store, meter)).toEqual([6, 7, 10]);
      await drop(store, later + weekS);
      expect(await store.droppedEntries(meter)).toEqual([span(meter, 1, 10)]);
    });
  });

  describeAccept(name, factory, async (store, meter) =>
    (await store.entries(meter, -1, 1_000)).map(({ message }) => message),
  );
}
