/** Commands of an operator through a gateway to meters that are called, that sleep, and that are away (protocol §8). */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { toHex } from '../../crypto/bytes.js';
import { decodeStrict } from '../../crypto/cbor.js';
import {
  makeCommand,
  nextSequence,
  openCommandReceipt,
  parseCommand,
  verifyCommandReceipt,
  type CommandOrder,
} from '../../crypto/envelope/command.js';
import { UnavailableError } from '../../crypto/errors.js';
import { limits } from '../../crypto/limits.js';
import { roleBit } from '../../crypto/membership.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { Meter } from '../../things/meter.js';
import { at, flipped, neighbourhoodOf } from '../support/forge.js';
import { seededRandom } from '../support/neighbourhood.js';
import { invoke, refusalOf, Village } from '../support/village.js';

const n = neighbourhoodOf(suiteX25519, 4);
const random = seededRandom('commands of things');

let village: Village;
let last: number;
afterEach(() => village.close());

async function founded(asleep: readonly number[] = []): Promise<void> {
  village = await Village.build(n, { asleep });
  last = 0;
  await village.enrolAll();
  const waking = async (): Promise<void> => {
    while (village.epochs.length === 0) await village.clock.sleep(500).then(() => wakeAll(asleep));
  };
  await village.clock.until(waking());
  await wakeAll(asleep);
}

const wakeAll = (asleep: readonly number[]): Promise<unknown> => Promise.all(asleep.map((i) => village.wake(i)));

/** A command to these meters. */
async function command(targets: readonly number[], change: Partial<CommandOrder> = {}): Promise<Uint8Array> {
  const { name, groupPublicKey } = await village.key(targets[0] ?? 0);
  const { nowS } = village.clock;
  last = nextSequence(last, nowS);
  return makeCommand(
    n.suite,
    {
      ...{ name, groupPublicKey, operator: n.operator, sequence: last, expiresS: nowS + 3_600 },
      targets: targets.map((i) => at(n.meters, i).certHash),
      operation: { name: 'set-reading-interval', intervalS: 120 },
      ...change,
    },
    random,
  );
}

const give = (message: Uint8Array): Promise<Uint8Array> => invoke(village.gateway, 'command', message);

/** Which meters have answered, as the operator verifies and opens it, and what. */
async function outcomes(message: Uint8Array): Promise<Readonly<Record<number, string>>> {
  const receipts = decodeStrict(await give(message), 1e6) as readonly Uint8Array[];
  const check = { suite: n.suite, membership: n.membership(), nowS: village.clock.nowS };
  return Object.fromEntries(
    receipts.map((bytes) => {
      const receipt = verifyCommandReceipt(check, parseCommand(n.suite, message), bytes);
      const { code } = openCommandReceipt(n.suite, n.operator.hpkeKey, receipt);
      return [n.meters.findIndex(({ certHash }) => toHex(certHash) === toHex(receipt.meter)), code ?? 'done'];
    }),
  );
}

const intervals = (): Promise<readonly unknown[]> =>
  Promise.all(village.residents.map(({ meter }) => meter.properties['readingInterval']!()));

const controls = (): number => village.calls.filter((call) => call.startsWith('control')).length;

describe('an operator’s command', () => {
  it('is done by the meters that it is for, and by no others, and each signs for it', async () => {
    await founded();
    const message = await command([0, 2]);
    await give(message);
    await village.pass(1_000);
    expect(await outcomes(message)).toEqual({ 0: 'done', 2: 'done' });
    expect(await intervals()).toEqual([120, 60, 120, 60]);
  });

  it('that a meter cannot do is answered so', async () => {
    await founded();
    const message = await command([1], { operation: { name: 'set-reading-interval', intervalS: 61 } });
    await give(message);
    await village.pass(1_000);
    expect(await outcomes(message)).toEqual({ 1: 'parameter-invalid' });
    expect(await intervals()).toEqual([60, 60, 60, 60]);
  });

  it('reaches a meter that nobody can call when it wakes up, and is brought back once', async () => {
    await founded([3]);
    const message = await command([0, 3]);
    await give(message);
    await village.pass(1_000);
    expect(await outcomes(message)).toEqual({ 0: 'done' });
    for (let waking = 0; waking < 2; waking++) await village.wake(3);
    expect(await outcomes(message)).toEqual({ 0: 'done', 3: 'done' });
    await village.pass(1_000);
    const { groups } = (await village.gateway.properties['round']!()) as { readonly groups: readonly object[] };
    expect(groups.some((group) => 'commands' in group)).toBe(false);
  });

  it('waits for a meter that is away, and follows the one before it', async () => {
    await founded();
    village.network = (to, action, message, deliver) => {
      if (to === 1 && action === 'control') throw new UnavailableError('unreachable', 'no answer');
      return deliver(message);
    };
    const [first, second] = [
      await command([1]),
      await command([1], { operation: { name: 'set-reading-interval', intervalS: 180 } }),
    ];
    await give(first);
    await give(second);
    await village.pass(30_000);
    expect(await outcomes(first)).toEqual({});
    const order: string[] = [];
    village.network = (_to, action, message, deliver) => {
      if (action === 'control') order.push(toHex(message));
      return deliver(message);
    };
    await village.pass(70_000);
    expect(order).toEqual([first, second].map(toHex));
    expect([await outcomes(first), await outcomes(second)]).toEqual([{ 1: 'done' }, { 1: 'done' }]);
    expect((await intervals())[1]).toBe(180);
  });

  it('is done once though its answer was lost and the gateway killed, and its receipt comes all the same', async () => {
    await founded();
    const obeyed: Uint8Array[] = [];
    village.network = async (_to, action, message, deliver) => {
      const receipt = await deliver(message);
      if (action !== 'control') return receipt;
      obeyed.push(receipt);
      if (obeyed.length < 3) throw new UnavailableError('unreachable', 'the answer is lost');
      return receipt;
    };
    const message = await command([2]);
    await give(message);
    await village.pass(1_500);
    expect(obeyed).toHaveLength(2);
    await village.stopGateway();
    await village.startGateway();
    await village.enrolAll();
    await village.pass(5_000);
    expect(await outcomes(message)).toEqual({ 2: 'done' });
    expect(new Set(obeyed.map(toHex)).size).toBe(1);
    const calls = controls();
    await give(message);
    await village.pass(100_000);
    expect(controls()).toBe(calls);
  });

  it('is brought all the same when the disk could not be read for a while', async () => {
    await founded();
    const fails = (): Promise<never> => Promise.reject(new UnavailableError('disk-failed', 'not now'));
    const read = vi.spyOn(village.store.commands, 'waitingCommands').mockImplementation(fails);
    const message = await command([0]);
    await give(message);
    await village.pass(1_000);
    expect(read).toHaveBeenCalled();
    read.mockRestore();
    await village.pass(61_000);
    expect(await outcomes(message)).toEqual({ 0: 'done' });
  });

  it('ends with its time, and is not brought any more', async () => {
    await founded();
    village.network = (_to, action, message, deliver) => {
      if (action === 'control') throw new UnavailableError('unreachable', 'no answer');
      return deliver(message);
    };
    const { nowS } = village.clock;
    const message = await command([1], { expiresS: nowS + 10 });
    await give(message);
    await village.pass(60_000);
    const calls = controls();
    village.network = (_to, _action, bytes, deliver) => deliver(bytes);
    await village.pass(200_000);
    expect(controls()).toBe(calls);
    expect(await outcomes(message)).toEqual({});
    const late = await command([1], { sequence: nextSequence(0, nowS) + 9, expiresS: nowS + 10 });
    await village.pass(300_000);
    expect(await refusalOf(give(late))).toBe('command-expired');
  });

  it('finds a meter that is in the next epoch already, for as long as the key before receives', async () => {
    await founded();
    const message = await command([0]);
    await village.gateway.group(n.gid).rekey('request');
    await give(message);
    await village.pass(1_000);
    expect(await outcomes(message)).toEqual({ 0: 'done' });
    const late = await command([1], {
      ...(await village.key(1).then(({ name, groupPublicKey }) => ({ name, groupPublicKey }))),
    });
    for (let rekeys = 0; rekeys < 2; rekeys++) await village.gateway.group(n.gid).rekey('request');
    await give(late);
    await village.pass(1_000);
    expect(await outcomes(late)).toEqual({ 1: 'epoch-stale' });
  });
});

describe('a gateway', () => {
  it('takes no command from whom the newest list does not name as operator, and none to strangers', async () => {
    await founded();
    expect(await refusalOf(give(await command([0], { operator: at(n.meters, 1) })))).toBe('not-listed');
    expect(await refusalOf(give(flipped(await command([0]), 8 * 100)))).toMatch(/./);
    const toStranger = await command([0], { targets: [n.utility.certHash] });
    expect(await refusalOf(give(toStranger))).toBe('target-unknown');
    const list = n.list({ version: 2 });
    await village.updateMembership({
      ...list,
      entries: list.entries.filter(({ roles }) => roles !== roleBit.operator),
    });
    expect(await refusalOf(give(await command([0])))).toBe('not-listed');
  });

  it('takes one command of a number, and so many that wait', async () => {
    await founded([3]);
    const first = await command([3]);
    await give(first);
    const same = await command([3], { sequence: last, operation: { name: 'ping' } });
    last -= 1;
    expect(await refusalOf(give(same))).toBe('command-conflict');
    last += 1;
    for (let i = 1; i < limits.commandsWaiting; i++) await give(await command([3], { operation: { name: 'ping' } }));
    expect(await refusalOf(give(await command([3])))).toBe('commands-waiting');
    await give(first);
  });

  it('takes receipts of the targets only, and the first of each', async () => {
    await founded([3]);
    const message = await command([3]);
    await give(message);
    const { meter } = at(village.residents, 3);
    const receipt = await invoke(meter, 'control', message);
    const submit = (bytes: Uint8Array) => invoke(village.gateway, 'submitReceipt', bytes);
    const unknown = await invoke(meter, 'control', await command([3]));
    expect(await refusalOf(submit(unknown))).toBe('command-unknown');
    expect(await refusalOf(submit(flipped(receipt, receipt.length * 8 - 1)))).toBe('signature-invalid');
    for (let times = 0; times < 2; times++) await submit(receipt);
    expect(await outcomes(message)).toEqual({ 3: 'done' });
  });

  it('that shows a meter commands of somebody else, or garbage, gets nothing done', async () => {
    await founded([3]);
    const { follower, meter } = at(village.residents, 3);
    const shown = (await village.gateway.properties['round']!()) as { readonly groups: readonly object[] };
    const posing = await command([3], { operator: n.gateway });
    for (const commands of [
      [posing],
      [await command([2])],
      [new Uint8Array(9)],
      [flipped(await command([3]), 8 * 100)],
    ]) {
      const groups = shown.groups.map((group) => ({
        ...group,
        commands: commands.map((each) => Buffer.from(each).toString('base64url')),
      }));
      const { submissions } = await follower.follow({ groups });
      expect(submissions.filter(({ action }) => action === 'submitReceipt')).toEqual([]);
    }
    expect(await meter.properties['readingInterval']!()).toBe(60);
  });
});

it('a meter keeps what it was told over a restart', async () => {
  await founded();
  await give(await command([0]));
  await village.pass(1_000);
  const { store, principal } = at(village.residents, 0);
  const set: number[] = [];
  const restarted = await Meter.load({
    suite: n.suite,
    identity: { ...principal, id: principal.certificate.id, certificates: [principal.certificate.der] },
    trustedRoots: [n.root],
    store,
    nowS: () => village.clock.nowS,
    random,
    log: { info: () => undefined, warn: () => undefined },
    version: '0.1.0',
    readingIntervalS: 60,
    interval: { takes: () => true, set: (intervalS) => set.push(intervalS) },
    sourceName: 'replay',
  });
  expect([await restarted.properties['readingInterval']!(), set]).toEqual([120, [120]]);
});
