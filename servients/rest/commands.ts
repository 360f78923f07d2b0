/**
 * Commands of operators: POST by whoever brings one (it is the operator's signature in it that counts), what has become of
 * each, and what gateways fetch and bring back. All of it is sealed: here are names, times and receipts that only the
 * operator opens.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { equalBytes, fromHex, toBase64Url, toHex } from '../../crypto/bytes.js';
import { issuedAtS } from '../../crypto/envelope/command.js';
import { ConflictError } from '../../crypto/errors.js';
import { parseCommand, parseCommandReceipt } from '../../crypto/envelope/command.js';
import { findEntry, type Membership } from '../../crypto/membership.js';
import type { KeptCommand, KeptCommandReceipt } from '../../things/command-store.js';
import { auditDone } from './audit-trail.js';
import type { RestContext } from './context.js';
import { isoTime } from './epoch-json.js';
import { unknownGroup } from './groups.js';
import { messageOf } from './messages.js';
import { json, messageBody, noContent, operation } from './operation.js';
import { gidParam, pageLimit } from './validation.js';

const idParam = { type: 'string', pattern: '^[0-9a-f]{64}$' };
const before = { type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER };

interface OfGroup {
  readonly Params: { readonly gid: string };
}
interface OfCommand {
  readonly Params: { readonly id: string };
}

export function commandRoutes(scope: FastifyInstance, context: RestContext): void {
  const { access, backend, commands, commandStore, nowS, suite } = context;
  const groupOf = (gid: string): Membership => {
    const membership = backend.memberships.find(({ list }) => toHex(list.gid) === gid);
    if (!membership) throw unknownGroup();
    return membership;
  };
  const statusOf = async (command: KeptCommand): Promise<object> =>
    commandJson(command, await commandStore.commandReceipts(command.id), nowS());

  scope.post(
    '/commands',
    {
      onRequest: access.needs('command'),
      schema: operation({
        id: 'postCommand',
        tag: 'Commands',
        summary: "Bring an operator's signed command to members of a group",
        description: 'Gateways fetch it and bring it to its targets until it ends. The same again changes nothing.',
        body: messageBody('message.command'),
        gives: { 200: json('command', 'What is kept of it, and the receipts so far') },
        refuses: [409],
      }),
    },
    async (request) => statusOf(await keep(request, messageOf(request))),
  );
  const keep = async (request: FastifyRequest, message: Uint8Array): Promise<KeptCommand> => {
    const { command, fresh } = await commands.take(message);
    if (fresh) {
      const { gid, operator, targets } = command;
      const details = { gid: toHex(gid), operator: toHex(operator), targets: targets.length };
      await auditDone(context, request, 'command.take', toHex(command.id), details);
    }
    return command;
  };

  scope.post<OfGroup>(
    '/groups/:gid/commands',
    {
      onRequest: access.listedGateway(),
      schema: operation({
        id: 'reportCommand',
        tag: 'Commands',
        summary: 'Report a command that an operator gave to the gateway itself',
        description: 'It is verified and kept as one that was brought here. The same again changes nothing.',
        params: { gid: gidParam },
        body: messageBody('message.command'),
        gives: { 204: noContent('It is kept') },
        refuses: [409],
      }),
    },
    async (request, reply) => {
      const message = messageOf(request);
      const { gid } = coordinated(request, groupOf(request.params.gid));
      if (!equalBytes(parseCommand(suite, message).name.gid, gid)) {
        throw new ConflictError('wrong-group', 'the command is to another group than the address names');
      }
      await keep(request, message);
      return reply.code(204).send();
    },
  );

  scope.get<OfCommand>(
    '/commands/:id',
    {
      onRequest: access.needs('command'),
      schema: operation({
        id: 'getCommand',
        tag: 'Commands',
        summary: 'What has become of a command',
        params: { id: idParam },
        gives: { 200: json('command', 'Its targets, and their receipts so far') },
      }),
    },
    async ({ params }) => statusOf(await commands.known(fromHex(params.id))),
  );

  scope.get<OfGroup & { Querystring: { limit: number; before?: number } }>(
    '/groups/:gid/commands',
    {
      onRequest: access.needs('command'),
      schema: operation({
        id: 'listCommands',
        tag: 'Commands',
        summary: 'The commands to members of a group, the newest first',
        params: { gid: gidParam },
        query: { limit: pageLimit(100, 20), before },
        gives: { 200: json('command-page', 'One page of commands') },
      }),
    },
    async ({ params, query }) => {
      const { gid } = groupOf(params.gid).list;
      const rows = await commandStore.commands(gid, query.limit, query.before);
      const last = rows.length === query.limit ? rows.at(-1) : undefined;
      return { commands: await Promise.all(rows.map(statusOf)), ...(last && { next: last.position }) };
    },
  );

  scope.get<OfGroup>(
    '/groups/:gid/commands/waiting',
    {
      onRequest: access.listedGateway(),
      schema: operation({
        id: 'listWaitingCommands',
        tag: 'Commands',
        summary: 'The commands that members have not answered, as their gateway',
        params: { gid: gidParam },
        gives: { 200: json('waiting-commands', 'The oldest first, each with its targets that have not answered') },
      }),
    },
    async (request) => {
      const { gid } = coordinated(request, groupOf(request.params.gid));
      const waiting = await commandStore.waitingCommands(nowS());
      return {
        commands: waiting
          .filter((command) => equalBytes(command.gid, gid))
          .slice(0, waitingAtOnce)
          .map(({ id, message, targets }) => ({
            ...{ id: toHex(id), message: toBase64Url(message), targets: targets.map(toHex) },
          })),
      };
    },
  );

  scope.post<OfCommand>(
    '/commands/:id/receipts',
    {
      onRequest: access.listedGateway(),
      schema: operation({
        id: 'postCommandReceipt',
        tag: 'Commands',
        summary: "Bring a member's receipt of a command, as its gateway",
        description: 'The first of each member counts; the same again changes nothing.',
        params: { id: idParam },
        body: messageBody('message.commandReceipt'),
        gives: { 204: noContent('It is kept') },
        refuses: [409],
      }),
    },
    async (request, reply) => {
      const message = messageOf(request);
      const { commandId, gid, meter } = parseCommandReceipt(message);
      if (toHex(commandId) !== request.params.id) {
        throw new ConflictError('receipt-mismatch', 'the receipt is of another command than the address names');
      }
      coordinated(request, groupOf(toHex(gid)));
      if (await commands.takeReceipt(message)) {
        await auditDone(context, request, 'command.receipt', toHex(commandId), { meter: toHex(meter) });
      }
      return reply.code(204).send();
    },
  );

  /** @throws NotFoundError `group-unknown` where another gateway coordinates the group */
  function coordinated(request: FastifyRequest, { list }: Membership): Membership['list'] {
    if (!findEntry(list, access.certificateOf(request).certHash, 'coordinator')) throw unknownGroup();
    return list;
  }

  /** As td/schemas/command.schema.json describes it. */
  function commandJson(command: KeptCommand, receipts: readonly KeptCommandReceipt[], now: number): object {
    const { id, gid, operator, sequence, expiresS, takenS, targets, message } = command;
    const { epoch, attempt, th2 } = parseCommand(suite, message).name;
    const isAnswered = receipts.length === targets.length;
    return {
      id: toHex(id),
      gid: toHex(gid),
      operator: toHex(operator),
      epoch,
      attempt,
      keyName: toHex(th2.subarray(0, 8)),
      issuedAt: isoTime(issuedAtS(sequence)),
      expiresAt: isoTime(expiresS),
      takenAt: isoTime(takenS),
      state: isAnswered ? 'answered' : now > expiresS ? 'expired' : 'waiting',
      message: toBase64Url(message),
      targets: targets.map((certHash) => targetJson(certHash, receipts)),
    };
  }
}

/** What a gateway fetches of a group: the rest when these are answered. */
const waitingAtOnce = 64;

function targetJson(certHash: Uint8Array, receipts: readonly KeptCommandReceipt[]): object {
  const receipt = receipts.find(({ meter }) => equalBytes(meter, certHash));
  return {
    certHash: toHex(certHash),
    ...(receipt && { receivedAt: isoTime(receipt.receivedS), receipt: toBase64Url(receipt.message) }),
  };
}
