/** The groups, and what is public of each: its newest epoch and list, and when its lists came. For every certified caller. */
import type { FastifyInstance } from 'fastify';
import { fromHex, toHex } from '../../crypto/bytes.js';
import { NotFoundError } from '../../crypto/errors.js';
import type { Membership } from '../../crypto/membership.js';
import type { EpochRow, ListRow } from '../../things/stores.js';
import type { RestContext } from './context.js';
import { isoTime } from './epoch-json.js';
import { sendMessage } from './messages.js';
import { gidParam, noQuery, pathParams } from './validation.js';

export function groupRoutes(scope: FastifyInstance, { backend, store, access }: RestContext): void {
  const onRequest = access.certified();

  scope.get('/groups', { onRequest, schema: { querystring: noQuery } }, async () => {
    const groups = backend.memberships.map(async (membership) => {
      const [newest] = await store.epochs(membership.list.gid, 1);
      return groupJson(membership, newest);
    });
    return { groups: await Promise.all(groups) };
  });

  const ofGroup = { onRequest, schema: { params: pathParams({ gid: gidParam }), querystring: noQuery } };
  scope.get<{ Params: { gid: string } }>('/groups/:gid/membership', ofGroup, async (request, reply) => {
    const newest = backend.memberships.find(({ list }) => toHex(list.gid) === request.params.gid);
    const bundle = newest && (await store.membershipByHash(newest.listHash));
    if (!bundle) throw unknownGroup();
    // Weak: JSON and CBOR hold the same list (RFC 9110 §8.8.1).
    const etag = `W/"${toHex(newest.listHash)}"`;
    reply.header('etag', etag).header('cache-control', 'no-cache').header('vary', 'accept, authorization');
    if (namesEtag(request.headers['if-none-match'], etag)) return reply.code(304).send();
    return sendMessage(request, reply, bundle);
  });

  scope.get<{ Params: { gid: string } }>('/groups/:gid/lists', ofGroup, async ({ params }) => {
    const lists = await store.membershipLists(fromHex(params.gid));
    if (lists.length === 0) throw unknownGroup();
    return { lists: lists.map(listJson) };
  });
}

export const unknownGroup = (): NotFoundError => new NotFoundError('group-unknown', 'no group of that id here');

/** RFC 9110 §13.1.2, by weak comparison. */
const namesEtag = (ifNoneMatch: string | undefined, etag: string): boolean =>
  (ifNoneMatch ?? '').split(',').some((tag) => ['*', etag, etag.slice(2)].includes(tag.trim()));

const listJson = ({ version, revision, listHash, publishedS }: ListRow): object => ({
  listVersion: version,
  listRevision: revision,
  listHash: toHex(listHash),
  publishedAt: isoTime(publishedS),
});

/** As td/schemas/backend-groups.schema.json describes it. */
const groupJson = ({ list }: Membership, newest: EpochRow | undefined): object => ({
  gid: toHex(list.gid),
  suite: list.policy.suite,
  listVersion: list.version,
  listRevision: list.revision,
  ...(newest && {
    epoch: newest.epoch,
    attempt: newest.attempt,
    keyName: toHex(newest.th2.subarray(0, 8)),
    members: newest.members,
    recordedAt: isoTime(newest.recordedS),
    provisional: false,
  }),
});
