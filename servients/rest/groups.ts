/** The groups, and what is public of each: its newest epoch and list, and when its lists came. */
import type { FastifyInstance } from 'fastify';
import { fromHex, toHex } from '../../crypto/bytes.js';
import { NotFoundError } from '../../crypto/errors.js';
import type { Membership } from '../../crypto/membership.js';
import type { EpochRow, ListRow } from '../../things/stores.js';
import type { Principal } from '../auth/principal.js';
import type { RestContext } from './context.js';
import { isoTime } from './epoch-json.js';
import { sendMessage } from './messages.js';
import { json, operation, storedMessage } from './operation.js';
import { gidParam } from './validation.js';
import { mayAudit, seesEpoch, seesGroup } from './visible-meters.js';

export function groupRoutes(scope: FastifyInstance, { backend, store, access }: RestContext): void {
  const ofAll = operation({
    id: 'listGroups',
    tag: 'Groups',
    summary: 'The groups, each with its newest recorded epoch',
    gives: { 200: json('backend-groups', 'The groups') },
  });
  scope.get('/groups', { onRequest: access.needs('groups:read'), schema: ofAll }, async (request) => {
    const caller = access.principalOf(request);
    const seen = backend.memberships.filter(({ list }) => seesGroup(backend, caller, 'groups:read', list.gid));
    return { groups: await Promise.all(seen.map((membership) => shownTo(caller, membership))) };
  });
  const shownTo = async (caller: Principal, membership: Membership): Promise<object> => {
    const [newest] = await store.epochs(membership.list.gid, 1);
    return groupJson(membership, newest && seesEpoch(backend, caller, 'groups:read', newest) ? newest : undefined);
  };

  const ofOne = operation({
    id: 'getGroup',
    tag: 'Groups',
    summary: 'A group, with its newest recorded epoch',
    params: { gid: gidParam },
    gives: { 200: json('backend-groups.group', 'The group') },
  });
  scope.get<{ Params: { gid: string } }>(
    '/groups/:gid',
    { onRequest: access.needs('groups:read'), schema: ofOne },
    async (request) => {
      const caller = access.principalOf(request);
      const membership = backend.memberships.find(({ list }) => toHex(list.gid) === request.params.gid);
      if (!membership || !seesGroup(backend, caller, 'groups:read', membership.list.gid)) throw unknownGroup();
      return shownTo(caller, membership);
    },
  );

  const onRequest = access.needs('membership:read');
  const params = { gid: gidParam };
  const ofMembership = operation({
    id: 'getMembership',
    tag: 'Groups',
    summary: 'The newest signed membership list, with its certificates',
    params,
    gives: { 200: storedMessage('message.membership', 'The list as it was signed') },
    refuses: [406],
  });
  scope.get<{ Params: { gid: string } }>(
    '/groups/:gid/membership',
    { onRequest, schema: ofMembership },
    async (request, reply) => {
      const newest = backend.memberships.find(({ list }) => toHex(list.gid) === request.params.gid);
      const bundle = newest && (await store.membershipByHash(newest.listHash));
      if (!bundle) throw unknownGroup();
      // Weak: JSON and CBOR hold the same list (RFC 9110 §8.8.1).
      reply.header('etag', `W/"${toHex(newest.listHash)}"`);
      return sendMessage(request, reply, bundle);
    },
  );

  const ofLists = operation({
    id: 'listMembershipLists',
    tag: 'Groups',
    summary: 'Which membership lists there were, and when they came',
    params,
    gives: { 200: json('lists', 'The lists, without their contents') },
  });
  scope.get<{ Params: { gid: string } }>('/groups/:gid/lists', { onRequest, schema: ofLists }, async ({ params }) => {
    const lists = await store.membershipLists(fromHex(params.gid));
    if (lists.length === 0) throw unknownGroup();
    return { lists: lists.map(listJson) };
  });

  const ofList = operation({
    id: 'getMembershipList',
    tag: 'Groups',
    summary: 'A signed membership list as it was, with its certificates',
    description: 'One that is not the newest is there for those whom it names, and who see all of the group.',
    params: { ...params, listHash: { type: 'string', pattern: '^[0-9a-f]{64}$' } },
    gives: { 200: storedMessage('message.membership', 'The list as it was signed') },
    refuses: [406],
  });
  scope.get<{ Params: { gid: string; listHash: string } }>(
    '/groups/:gid/lists/:listHash',
    { onRequest, schema: ofList },
    async (request, reply) => {
      const { gid, listHash } = request.params;
      const known = backend.listsOf(fromHex(gid)).find((membership) => toHex(membership.listHash) === listHash);
      const isNewest = backend.memberships.some((newest) => toHex(newest.listHash) === listHash);
      const isShown = known && (isNewest || mayAudit(backend, access.principalOf(request), known));
      const bundle = isShown && (await store.membershipByHash(known.listHash));
      if (!bundle) throw new NotFoundError('list-unknown', 'no list of that hash in this group that you may see');
      return sendMessage(request, reply, bundle);
    },
  );
}

export const unknownGroup = (): NotFoundError => new NotFoundError('group-unknown', 'no group of that id here');

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
