/** The groups, and what is public of each: its newest list, its epochs and their records. For every certified caller. */
import type { FastifyInstance } from 'fastify';
import { fromHex, toHex } from '../../crypto/bytes.js';
import { NotFoundError } from '../../crypto/errors.js';
import type { Membership } from '../../crypto/membership.js';
import type { EpochRow } from '../../things/stores.js';
import type { RestContext } from './context.js';
import { epochJson, isoTime } from './epoch-json.js';
import { sendMessage } from './messages.js';
import { gidParam, pageLimit, noQuery, pathParams, queryFields } from './validation.js';

const epochKey = { type: 'string', pattern: '^[0-9]{1,10}\\.[0-9]{1,3}$' };

export function groupRoutes(scope: FastifyInstance, { backend, store, access }: RestContext): void {
  const onRequest = access.certified();

  scope.get('/groups', { onRequest, schema: { querystring: noQuery } }, async () => {
    const groups = backend.memberships.map(async (membership) => {
      const [newest] = await store.epochs(membership.list.gid, 1);
      return groupJson(membership, newest);
    });
    return { groups: await Promise.all(groups) };
  });

  const ofGroup = { params: pathParams({ gid: gidParam }) };
  scope.get<{ Params: { gid: string } }>(
    '/groups/:gid/membership',
    { onRequest, schema: { ...ofGroup, querystring: noQuery } },
    async (request, reply) => {
      const bundle = await store.loadMembership(fromHex(request.params.gid));
      if (!bundle) throw unknownGroup();
      return sendMessage(request, reply, bundle);
    },
  );

  scope.get<{ Params: { gid: string }; Querystring: { limit: number } }>(
    '/groups/:gid/epochs',
    { onRequest, schema: { ...ofGroup, querystring: queryFields({ limit: pageLimit(500, 50) }) } },
    async ({ params, query }) => {
      if (!backend.memberships.some(({ list }) => toHex(list.gid) === params.gid)) throw unknownGroup();
      return { epochs: (await store.epochs(fromHex(params.gid), query.limit)).map(epochJson) };
    },
  );

  scope.get<{ Params: { gid: string; key: string } }>(
    '/groups/:gid/epochs/:key/record',
    {
      onRequest,
      schema: { params: pathParams({ gid: gidParam, key: epochKey }), querystring: noQuery },
    },
    async (request, reply) => {
      const [epoch = 0, attempt = 0] = request.params.key.split('.').map(Number);
      const record = await store.loadRecord(fromHex(request.params.gid), epoch, attempt);
      if (!record) throw new NotFoundError('epoch-unknown', 'no record of that epoch and attempt');
      return sendMessage(request, reply, record);
    },
  );
}

const unknownGroup = (): NotFoundError => new NotFoundError('group-unknown', 'no group of that id here');

/** As td/schemas/backend-groups.schema.json describes it. */
const groupJson = ({ list }: Membership, newest: EpochRow | undefined): object => ({
  gid: toHex(list.gid),
  suite: list.policy.suite,
  listVersion: list.version,
  ...(newest && {
    epoch: newest.epoch,
    attempt: newest.attempt,
    keyName: toHex(newest.th2.subarray(0, 8)),
    members: newest.members,
    recordedAt: isoTime(newest.recordedS),
  }),
});
