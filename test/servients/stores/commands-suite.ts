import { describe, expect, it } from 'vitest';
import type { CommandStore, NewCommand, NewCommandReceipt } from '../../../things/command-store.js';
import { placesOf, type StoreFactory } from './factory.js';
import { bytes, gid, nowS } from './samples.js';

const command = (change: Partial<NewCommand> = {}): NewCommand => ({
  ...{ id: bytes(32), gid, operator: bytes(32), sequence: 2 ** 50 + 1, expiresS: nowS + 60, takenS: nowS },
  ...{ targets: [bytes(32), bytes(32)], message: bytes(300) },
  ...change,
});

const receiptOf = ({ id, targets }: NewCommand, i: number): NewCommandReceipt => ({
  ...{ id, meter: targets[i] ?? bytes(32), receivedS: nowS + i, message: bytes(200) },
});

const bounds = { waiting: 3, forgetBeforeS: 0 };

export function describeCommandStore(name: string, factory: StoreFactory<CommandStore>): void {
  describe(name, () => {
    const places = placesOf(factory);

    it('keeps a command once, over a restart, until each of its targets has answered', async () => {
      const place = await places.place();
      const before = await place.open();
      const kept = command();
      expect([await before.store.saveCommand(kept, bounds), await before.store.saveCommand(kept, bounds)]).toEqual([
        true,
        false,
      ]);
      await before.close();
      const { store } = await place.open();
      expect(await store.command(kept.id)).toEqual({ ...kept, position: 1 });
      expect(await store.command(bytes(32))).toBeUndefined();
      const { id, message, targets } = kept;
      expect(await store.waitingCommands(nowS + 60)).toEqual([{ id, gid, message, targets }]);
      const [first, second] = [receiptOf(kept, 0), receiptOf(kept, 1)];
      expect(await store.saveCommandReceipt(second)).toBe(true);
      expect(await store.waitingCommands(nowS)).toEqual([{ id, gid, message, targets: targets.slice(0, 1) }]);
      expect(await store.saveCommandReceipt({ ...receiptOf(kept, 1), message: bytes(9) })).toBe(false);
      expect(await store.saveCommandReceipt(first)).toBe(true);
      expect(await store.waitingCommands(nowS)).toEqual([]);
      expect(await store.commandReceipts(id)).toEqual([
        { ...second, gid, position: 1 },
        { ...first, gid, position: 2 },
      ]);
      expect(await store.saveCommandReceipt(receiptOf(command(), 0))).toBe(false);
    });

    it('refuses another command of the same number, and more than may wait; what has ended waits no more', async () => {
      const store = await places.store();
      const first = command();
      await store.saveCommand(first, bounds);
      await expect(store.saveCommand({ ...command(), operator: first.operator }, bounds)).rejects.toMatchObject({
        code: 'command-conflict',
      });
      for (let i = 1; i < bounds.waiting; i++) await store.saveCommand(command({ expiresS: nowS + 9 }), bounds);
      await expect(store.saveCommand(command(), bounds)).rejects.toMatchObject({ code: 'commands-waiting' });
      await store.saveCommand(command({ gid: bytes(16) }), bounds);
      await store.saveCommand(command({ takenS: nowS + 10 }), bounds);
      expect(await store.waitingCommands(nowS + 10)).toHaveLength(3);
    });

    it('numbers commands and receipts in the order in which they came, and forgets old ones without using a number again', async () => {
      const store = await places.store();
      const all = [command(), command(), command()];
      for (const each of all) await store.saveCommand(each, bounds);
      for (const each of all) await store.saveCommandReceipt(receiptOf(each, 0));
      const ids = (rows: readonly { readonly id: Uint8Array }[]) => rows.map(({ id }) => id);
      expect(ids(await store.commandsAfter(1, 9))).toEqual(ids(all.slice(1)));
      expect(ids(await store.commandReceiptsAfter(0, 2))).toEqual(ids(all.slice(0, 2)));
      expect(ids(await store.commands(gid, 2))).toEqual(ids([all[2]!, all[1]!]));
      expect(ids(await store.commands(gid, 9, 2))).toEqual(ids([all[0]!]));
      await store.saveCommand(command({ expiresS: nowS + 99 }), { waiting: 9, forgetBeforeS: nowS + 61 });
      expect(await store.command(all[0]!.id)).toBeUndefined();
      expect(await store.commandReceipts(all[0]!.id)).toEqual([]);
      expect(await store.commandPositions()).toEqual({ commands: 4, receipts: 3 });
      expect(await store.commandsAfter(0, 9)).toMatchObject([{ position: 4 }]);
    });

    it('takes what two bring at once, each once', async () => {
      const place = await places.place();
      const [one, two] = [(await place.open()).store, (await place.open()).store];
      const all = Array.from({ length: 8 }, () => command());
      const wide = { waiting: 99, forgetBeforeS: 0 };
      const fresh = await Promise.all(
        all.flatMap((each) => [one.saveCommand(each, wide), two.saveCommand(each, wide)]),
      );
      expect(fresh.filter(Boolean)).toHaveLength(8);
      const taken = await Promise.all(
        all.flatMap((each) => [one, two].map((store) => store.saveCommandReceipt(receiptOf(each, 0)))),
      );
      expect(taken.filter(Boolean)).toHaveLength(8);
      expect((await two.commandsAfter(0, 99)).map(({ position }) => position)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    });
  });
}
