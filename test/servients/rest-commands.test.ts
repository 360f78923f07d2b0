/** Operators' commands over the REST API of a real backend: who brings them, who fetches them, and who signs for them. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromBase64Url, toHex } from '../../crypto/bytes.js';
import {
  makeCommand,
  nextSequence,
  openCommandReceipt,
  parseCommand,
  verifyCommandReceipt,
  type CommandOrder,
} from '../../crypto/envelope/command.js';
import { newObeyingState, obey } from '../../crypto/envelope/obeying.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { roleBit } from '../../crypto/membership.js';
import { BackendClient } from '../../servients/backend-client.js';
import { CommandExchange } from '../../servients/gateway-commands.js';
import { fetchAs } from '../../servients/issuer-client.js';
import { makeLog } from '../../servients/runtime.js';
import type { Gateway } from '../../things/gateway.js';
import { nowS, makeNeighbourhood, seededRandom, type Principal } from '../support/neighbourhood.js';
import { activeKey, agree, type Player } from '../support/ring.js';
import { dataOf, listen } from './event-reader.js';
import {
  asJson,
  audience,
  expectFits,
  expectProblem,
  issuingOf,
  startBackend,
  type Answer,
  type TestBackend,
} from './rest-server.js';

const n = makeNeighbourhood(suiteX25519, 3);
const random = seededRandom('commands over REST');
const { players } = agree(n);
const { name, groupPublicKey } = activeKey(players[0]!);
const gid = toHex(n.gid);
let last = 0;

function command(change: Partial<CommandOrder> = {}): Uint8Array {
  last = nextSequence(last, nowS);
  return makeCommand(
    n.suite,
    {
      ...{ name, groupPublicKey, operator: n.operator, sequence: last, expiresS: nowS + 3_600 },
      targets: n.meters.slice(0, 2).map(({ certHash }) => certHash),
      operation: { name: 'set-reading-interval', intervalS: 120 },
      ...change,
    },
    random,
  );
}

interface Page {
  readonly commands: readonly { readonly id: string }[];
  readonly next?: number;
}

const idOf = (message: Uint8Array): string => toHex(parseCommand(n.suite, message).id);

const receiptOf = ({ principal, state }: Player, message: Uint8Array): Uint8Array =>
  obey(
    {
      ...{ suite: n.suite, membership: n.membership(), nowS, self: principal, random },
      ...{ keys: [state.active!], unsupported: () => null },
    },
    newObeyingState,
    message,
  ).receipt;

let backend: TestBackend;
beforeAll(async () => {
  backend = await startBackend(n);
  await backend.call('POST', '/api/v1/memberships', { body: n.bundle(n.list()) });
});
afterAll(() => backend.remove());

const post = (body: unknown, as: Principal = n.operator): Promise<Answer> =>
  backend.call('POST', '/api/v1/commands', { body, as });
const get = (path: string, as: Principal): Promise<Answer> => backend.call('GET', `/api/v1/${path}`, { as });
const bring = (id: string, body: unknown, as: Principal = n.gateway): Promise<Answer> =>
  backend.call('POST', `/api/v1/commands/${id}/receipts`, { body, as });

describe('a command', () => {
  it('goes from its operator to the gateway, and the receipts back, of which the operator alone learns the outcome', async () => {
    const message = command();
    const id = idOf(message);
    const taken = await post(asJson(message));
    expect(taken.status).toBe(200);
    expectFits('command', taken.body);
    expect(taken.body).toMatchObject({ id, gid, state: 'waiting', operator: toHex(n.operator.certHash) });
    const waiting = await get(`groups/${gid}/commands/waiting`, n.gateway);
    expectFits('waiting-commands', waiting.body);
    const [shown] = (waiting.body as { readonly commands: readonly { readonly message: string }[] }).commands;
    expect(fromBase64Url(shown?.message ?? '')).toEqual(message);
    for (const player of players.slice(0, 2)) expect((await bring(id, receiptOf(player, message))).status).toBe(204);
    const { body } = await get(`commands/${id}`, n.operator);
    expectFits('command', body);
    const { state, targets } = body as { state: string; targets: readonly { readonly receipt: string }[] };
    expect(state).toBe('answered');
    for (const { receipt } of targets) {
      const check = { suite: n.suite, membership: n.membership(), nowS };
      const verified = verifyCommandReceipt(check, parseCommand(n.suite, message), fromBase64Url(receipt));
      expect(openCommandReceipt(n.suite, n.operator.hpkeKey, verified)).toEqual({ code: null, doneS: nowS });
    }
    const left = (await get(`groups/${gid}/commands/waiting`, n.gateway)).body as Page;
    expect(left.commands.map((each) => each.id)).not.toContain(id);
  });

  it('is the same command when it comes again, and as bytes', async () => {
    const message = command();
    const first = await post(message);
    expect((await post(asJson(message))).body).toEqual(first.body);
    const { body } = await get(`groups/${gid}/commands`, n.operator);
    expectFits('command-page', body);
    expect((body as Page).commands.filter(({ id }) => id === idOf(message))).toHaveLength(1);
  });

  it('that was given to a gateway itself is reported by it, with the receipts that are there, and by no other', async () => {
    const message = command();
    const [id, receipt] = [idOf(message), receiptOf(players[0]!, message)];
    const stranger = n.certify('gateway', 'gw-9');
    const path = `/api/v1/groups/${gid}/commands`;
    expectProblem(await backend.call('POST', path, { as: stranger, body: message }), 403, 'refused');
    expectProblem(await backend.call('POST', path, { as: n.operator, body: message }), 403, 'refused');
    const elsewhere = `/api/v1/groups/${'0'.repeat(32)}/commands`;
    expectProblem(await backend.call('POST', elsewhere, { as: n.gateway, body: message }), 404, 'group-unknown');
    const key = { suite: n.suite, ...n.gateway, certificates: [n.gateway.certificate.der, issuingOf(n).der] };
    const exchange = new CommandExchange({
      backend: new BackendClient({
        ...{ suite: n.suite, trustedRoots: [n.root], url: backend.url },
        fetch: fetchAs(key, audience, [], () => nowS),
      }),
      runtime: { log: makeLog('silent'), emit: () => undefined, version: '' },
      gateway: {
        groups: [{ gid }],
        takeCommand: async () => new Uint8Array(0),
        keptCommands: async () => [{ id: parseCommand(n.suite, message).id, message }],
        commandReceipts: async () => [{ meter: players[0]!.principal.certHash, message: receipt }],
      } as unknown as Gateway,
    });
    await exchange.exchange();
    await exchange.exchange();
    const { body } = await get(`commands/${id}`, n.operator);
    expect(body).toMatchObject({
      id,
      state: 'waiting',
      targets: expect.arrayContaining([expect.objectContaining({ receipt: asJson(receipt).message })]) as unknown,
    });
    const { body: log } = await get(`audit?action=command.take&subject=${id}`, n.operator);
    expect(log).toMatchObject({ entries: [{ actor: 'urn:gridring:gateway:gw-1' }] });
  });

  it('is listed page by page, the newest first', async () => {
    const ids: string[] = [];
    for (let i = 0; i < 3; i++) {
      const message = command();
      ids.unshift(idOf(message));
      await post(message);
    }
    const first = (await get(`groups/${gid}/commands?limit=2`, n.operator)).body as Page;
    const rest = (await get(`groups/${gid}/commands?limit=1&before=${String(first.next)}`, n.operator)).body as Page;
    expect([...first.commands, ...rest.commands].map(({ id }) => id)).toEqual(ids);
    expect(first.commands).toHaveLength(2);
  });

  it('is told of to gateways, and its receipts to operators, as they come', async () => {
    const events = async (what: string, as: Principal, act: () => Promise<unknown>): Promise<unknown> => {
      const reader = await listen(backend, as, {}, `events/${what}`);
      await act();
      const [data] = dataOf(await reader.until('data:'));
      await reader.response.body?.cancel().catch(() => undefined);
      return data;
    };
    const message = command();
    const id = idOf(message);
    expect(await events('commands', n.gateway, () => post(message))).toEqual({ gid, id });
    const receipt = receiptOf(players[0]!, message);
    const told = await events('receipts', n.operator, () => bring(id, receipt));
    expectFits('command-receipt', told);
    expect(told).toMatchObject({ id, meter: toHex(n.meters[0]!.certHash) });
    expect((await get('events/receipts', n.gateway)).status).toBe(403);
    expect((await get('events/commands', n.operator)).status).toBe(403);
  });
});

describe('a backend', () => {
  it('takes receipts from the gateway of the group only, and makes none up', async () => {
    const message = command();
    const id = idOf(message);
    await post(message);
    const receipt = receiptOf(players[0]!, message);
    expectProblem(await bring(id, receipt, n.operator), 403, 'refused');
    expectProblem(await bring(id, receiptOf(players[0]!, command())), 409, 'receipt-mismatch');
    expectProblem(await bring(idOf(command()), receipt), 409, 'receipt-mismatch');
    const unknown = command();
    expectProblem(await bring(idOf(unknown), receiptOf(players[0]!, unknown)), 404, 'command-unknown');
    expectProblem(await bring(id, receipt.with(receipt.length - 1, (receipt.at(-1) ?? 0) ^ 1)), 403, 'refused');
    expectProblem(await get(`groups/${'0'.repeat(32)}/commands/waiting`, n.gateway), 404, 'group-unknown');
    expectProblem(await get(`commands/${'0'.repeat(64)}`, n.operator), 404, 'command-unknown');
    expectProblem(await get(`groups/${gid}/commands/waiting`, n.operator), 403, 'refused');
  });

  it('never sees what a command says, nor what a receipt does', async () => {
    const message = command();
    const answer = await post(message);
    const text = JSON.stringify([answer.body, backend.logged]) + Buffer.from(message).toString('latin1');
    expect(text).not.toContain('set-reading-interval');
  });

  it('takes no command that no operator of the newest list has signed, whoever brings it', async () => {
    expectProblem(await post(command({ operator: n.meters[2]! })), 403, 'refused');
    expectProblem(await post(command(), n.gateway), 403, 'refused');
    expectProblem(await post(command(), n.utility), 403, 'refused');
    const message = command();
    expectProblem(await post(message.with(message.length - 1, (message.at(-1) ?? 0) ^ 1)), 403, 'refused');
    expectProblem(await post(command({ targets: [n.utility.certHash] })), 409, 'target-unknown');
    const late = command({ expiresS: nowS });
    backend.clockS = nowS + 301;
    expectProblem(await post(late), 409, 'command-expired');
    const list = n.list({ version: 2 });
    const without = { ...list, entries: list.entries.filter(({ roles }) => roles !== roleBit.operator) };
    await backend.call('POST', '/api/v1/memberships', { body: n.bundle(without) });
    expect((await post(command())).status).toBe(403);
  });
});
