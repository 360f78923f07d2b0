/** Epochs: POST of a record by a gateway, answered with the endorsement; the epochs of a group, their records and proofs. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { equalBytes, fromHex } from '../../crypto/bytes.js';
import { NotFoundError } from '../../crypto/errors.js';
import { encodeProof } from '../../crypto/ring/proof.js';
import { recordFacts } from './audit-trail.js';
import type { EpochPlace } from '../../things/stores.js';
import type { RestContext } from './context.js';
import { epochJson } from './epoch-json.js';
import { unknownGroup } from './groups.js';
import { answerMessage, messageOf, sendMessage } from './messages.js';
import { json, messageAnswer, messageBody, operation, storedMessage } from './operation.js';
import { gidParam, pageLimit } from './validation.js';
import { mayAudit, seesEpoch, seesGroup } from './visible-meters.js';

const epochKey = { type: 'string', pattern: '^[0-9]{1,10}\\.[0-9]{1,3}$' };

interface EpochParams {
  readonly gid: string;
  /** `<epoch>.<attempt>` */
  readonly key: string;
}

export function epochRoutes(scope: FastifyInstance, context: RestContext): void {
  const { backend, store, access } = context;
  scope.post(
    '/epochs',
    {
      onRequest: access.needs('gateway'),
      schema: operation({
        id: 'recordEpoch',
        tag: 'Epochs',
        summary: 'Bring the record of an epoch, as a gateway',
        description: 'It is verified as a whole, kept and endorsed. The same record again gets the same endorsement.',
        body: messageBody('message.record'),
        gives: { 200: messageAnswer('message.endorsement', 'The endorsement') },
        refuses: [409],
      }),
    },
    async (request, reply) => {
      const facts = recordFacts(context, request);
      const endorsement = await backend.recordEpoch(access.certificateOf(request), messageOf(request), facts);
      return answerMessage(request, reply, endorsement);
    },
  );

  const onRequest = access.needs('epochs:read');
  scope.get<{ Params: { gid: string }; Querystring: { after?: string; limit: number } }>(
    '/groups/:gid/epochs',
    {
      onRequest,
      schema: operation({
        id: 'listEpochs',
        tag: 'Epochs',
        summary: 'The recorded epochs of a group, the newest first',
        params: { gid: gidParam },
        query: { after: epochKey, limit: pageLimit(500, 50) },
        gives: { 200: json('epoch-page', 'The epochs') },
      }),
    },
    async (request) => {
      const gid = fromHex(request.params.gid);
      const { after, limit } = request.query;
      const caller = access.principalOf(request);
      const isKnown = backend.memberships.some(({ list }) => equalBytes(list.gid, gid));
      if (!isKnown || !seesGroup(backend, caller, 'epochs:read', gid)) throw unknownGroup();
      const rows = await store.epochs(gid, limit, after === undefined ? undefined : placeOf(after));
      const last = rows.length === limit ? rows.at(-1) : undefined;
      return {
        epochs: rows.filter((row) => seesEpoch(backend, caller, 'epochs:read', row)).map(epochJson),
        ...(last && { next: `${last.epoch}.${last.attempt}` }),
      };
    },
  );

  const params = { gid: gidParam, key: epochKey };
  const load = ({ params: { gid, key } }: FastifyRequest<{ Params: EpochParams }>) => {
    const { epoch, attempt } = placeOf(key);
    return store.loadEpoch(fromHex(gid), epoch, attempt);
  };

  const ofOne = operation({
    id: 'getEpoch',
    tag: 'Epochs',
    summary: 'What is recorded of an epoch',
    params,
    gives: { 200: json('epoch-recorded', 'The epoch, as it stands in the list') },
  });
  scope.get<{ Params: EpochParams }>('/groups/:gid/epochs/:key', { onRequest, schema: ofOne }, async (request) => {
    const { gid, key } = request.params;
    const { epoch, attempt } = placeOf(key);
    // The one that follows the next attempt in the list.
    const [row] = await store.epochs(fromHex(gid), 1, { epoch, attempt: attempt + 1 });
    const isIt = row?.epoch === epoch && row.attempt === attempt;
    if (!isIt || !seesEpoch(backend, access.principalOf(request), 'epochs:read', row)) throw unknownEpoch();
    return epochJson(row);
  });

  const ofRecord = operation({
    id: 'getEpochRecord',
    tag: 'Epochs',
    summary: 'The signed record of an epoch',
    params,
    gives: {
      200: storedMessage('message.record', 'All messages of the agreement, which anybody with the list verifies'),
    },
    refuses: [406],
  });
  scope.get<{ Params: EpochParams }>(
    '/groups/:gid/epochs/:key/record',
    { onRequest, schema: ofRecord },
    async (request, reply) => {
      const found = await load(request);
      // It has something of every member.
      if (!found || access.reachOf(request, 'epochs:read') === 'own') throw unknownEpoch();
      return sendMessage(request, reply, found.record);
    },
  );

  const ofProof = operation({
    id: 'getEpochProof',
    tag: 'Epochs',
    summary: 'List, record and endorsement of an epoch',
    params,
    gives: { 200: storedMessage('message.proof', 'The proof, which anybody with the root certificate verifies') },
    refuses: [406],
  });
  scope.get<{ Params: EpochParams }>(
    '/groups/:gid/epochs/:key/proof',
    { onRequest, schema: ofProof },
    async (request, reply) => {
      const found = await load(request);
      const membership = found && (await store.membershipByHash(found.listHash));
      const list = backend
        .listsOf(fromHex(request.params.gid))
        .find(({ listHash }) => found && equalBytes(listHash, found.listHash));
      if (!membership || !list || !mayAudit(backend, access.principalOf(request), list)) throw unknownEpoch();
      const { record, endorsement } = found;
      if (!endorsement) throw unknownEpoch();
      return sendMessage(request, reply, encodeProof({ membership, record, endorsement }));
    },
  );
}

function placeOf(key: string): EpochPlace {
  const [epoch = 0, attempt = 0] = key.split('.').map(Number);
  return { epoch, attempt };
}

const unknownEpoch = (): NotFoundError =>
  new NotFoundError('epoch-unknown', 'no record of that epoch and attempt that you may see');
