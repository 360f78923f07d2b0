/** Who is in the groups: gateways, readers and members as the signed lists name them, and what readers were granted. */
import type { FastifyInstance } from 'fastify';
import { fromHex, toHex } from '../../crypto/bytes.js';
import { NotFoundError } from '../../crypto/errors.js';
import { roleBit, type ListRole, type Membership } from '../../crypto/membership.js';
import type { Backend } from '../../things/backend.js';
import type { GrantedEpoch } from '../../things/stores.js';
import type { RestContext } from './context.js';
import { isoTime } from './epoch-json.js';
import { unknownGroup } from './groups.js';
import { json, operation } from './operation.js';
import { gidParam, pageLimit } from './validation.js';
import { ownMeters, VisibleMeters } from './visible-meters.js';

const certHash = { type: 'string', pattern: '^[0-9a-f]{64}$' };
const after = { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER, default: 0 };

interface GrantsRequest {
  readonly Params: { readonly certHash: string };
  readonly Querystring: { readonly after: number; readonly limit: number };
}

export function memberRoutes(scope: FastifyInstance, { backend, store, access }: RestContext): void {
  const onRequest = access.needs('membership:read');

  const ofMembers = operation({
    id: 'listMembers',
    tag: 'Groups',
    summary: 'Whom the newest membership list names, in which roles',
    params: { gid: gidParam },
    gives: { 200: json('members', 'The entries') },
  });
  scope.get<{ Params: { gid: string } }>(
    '/groups/:gid/members',
    { onRequest, schema: ofMembers },
    async ({ params }) => {
      const newest = backend.memberships.find(({ list }) => toHex(list.gid) === params.gid);
      if (!newest) throw unknownGroup();
      return membersJson(newest);
    },
  );

  const ofGateways = operation({
    id: 'listGateways',
    tag: 'Groups',
    summary: 'The gateways, and which groups they coordinate',
    gives: { 200: json('gateways', 'The gateways') },
  });
  scope.get('/gateways', { onRequest, schema: ofGateways }, async () => ({ gateways: gatewaysIn(backend) }));

  const ofGateway = operation({
    id: 'getGateway',
    tag: 'Groups',
    summary: 'A gateway, and which groups it coordinates',
    params: { certHash },
    gives: { 200: json('gateways.gateway', 'The gateway') },
  });
  scope.get<{ Params: { certHash: string } }>(
    '/gateways/:certHash',
    { onRequest, schema: ofGateway },
    async ({ params }) => {
      const found = gatewaysIn(backend).find((gateway) => gateway.certHash === params.certHash);
      if (!found) throw new NotFoundError('gateway-unknown', 'no current list names such a gateway');
      return found;
    },
  );

  const ofReaders = operation({
    id: 'listReaders',
    tag: 'Groups',
    summary: 'The readers, and which meters the signed policies let them read',
    gives: { 200: json('readers', 'A reader for each group that names it') },
  });
  scope.get('/readers', { onRequest, schema: ofReaders }, async () => ({ readers: readersIn(backend) }));

  const ofReader = operation({
    id: 'getReader',
    tag: 'Groups',
    summary: 'What the signed policies let a reader read',
    params: { certHash },
    gives: { 200: json('readers', 'The reader, for each group that names it') },
  });
  scope.get<{ Params: { certHash: string } }>(
    '/readers/:certHash',
    { onRequest, schema: ofReader },
    async ({ params }) => {
      const readers = readersIn(backend).filter((reader) => reader.certHash === params.certHash);
      if (readers.length === 0) throw new NotFoundError('reader-unknown', 'no current list names such a reader');
      return { readers };
    },
  );

  const visible = new VisibleMeters(backend);
  const ofGrants = operation({
    id: 'listGrantedEpochs',
    tag: 'Epochs',
    summary: 'Which epochs of which meters a reader was granted',
    description: 'Of the meters that the caller may see: a household learns who opens its readings.',
    params: { certHash },
    query: { after, limit: pageLimit(500, 100) },
    gives: { 200: json('granted-epochs', 'One page of grants, without their contents') },
  });
  scope.get<GrantsRequest>(
    '/readers/:certHash/grants',
    { onRequest: access.needs('readings:read'), schema: ofGrants },
    async (request) => {
      const { params, query } = request;
      const caller = access.principalOf(request);
      const view = visible.of(caller, 'readings:read');
      // Who does not see all meters is not to find by empty pages that there are grants of others.
      const seesAll = caller.kind === 'person' && ownMeters(caller, 'readings:read') === undefined;
      const meters = seesAll ? undefined : view.meters.map(({ certHash: meter }) => meter);
      const rows = await store.grantedEpochs(fromHex(params.certHash), query.after, query.limit, meters);
      const next = rows.length === query.limit ? rows.at(-1)?.position : undefined;
      const seen = rows.filter(({ meter }) => view.find(toHex(meter)));
      return { grants: seen.map(grantJson), ...(next !== undefined && { next }) };
    },
  );
}

type Lists = Pick<Backend, 'currentMemberships'>;

/** As td/schemas/gateways.schema.json describes them. */
function gatewaysIn({ currentMemberships }: Lists): readonly (Entry & { readonly groups: readonly string[] })[] {
  const found = currentMemberships.flatMap((membership) =>
    entriesWith(membership, 'coordinator').map((entry) => ({ entry, gid: toHex(membership.list.gid) })),
  );
  const firsts = found.filter(
    ({ entry }, i) => found.findIndex((other) => other.entry.certHash === entry.certHash) === i,
  );
  return firsts.map(({ entry }) => ({
    ...entry,
    groups: found.filter((other) => other.entry.certHash === entry.certHash).map(({ gid }) => gid),
  }));
}

const readersIn = ({ currentMemberships }: Lists): readonly Entry[] =>
  currentMemberships.flatMap((membership) =>
    entriesWith(membership, 'reader').map((entry) => readerJson(membership, entry)),
  );

interface Entry {
  /** Where the list's bundle has the certificate. */
  readonly id?: string;
  readonly certHash: string;
}

const listRoles = Object.keys(roleBit) as readonly ListRole[];

const entriesWith = ({ list, certificates }: Membership, role: ListRole): readonly Entry[] =>
  list.entries.flatMap((entry, i) =>
    (entry.roles & roleBit[role]) === 0 ? [] : [entryOf(entry.certHash, certificates[i])],
  );

const entryOf = (hash: Uint8Array, certificate: Membership['certificates'][number]): Entry => ({
  ...(certificate && { id: `urn:gridring:${certificate.role}:${certificate.id}` }),
  certHash: toHex(hash),
});

/** As td/schemas/members.schema.json describes it. */
const membersJson = ({ list, certificates }: Membership): object => ({
  gid: toHex(list.gid),
  listVersion: list.version,
  listRevision: list.revision,
  members: list.entries.map(({ certHash: hash, roles }, i) => ({
    ...entryOf(hash, certificates[i]),
    roles: listRoles.filter((role) => (roles & roleBit[role]) !== 0),
  })),
});

/** As td/schemas/readers.schema.json describes it. */
function readerJson({ list }: Membership, entry: Entry): Entry & { readonly gid: string } {
  const rules = list.policy.readings.filter(({ reader }) => toHex(reader) === entry.certHash);
  const isAll = rules.some(({ meters }) => meters === null);
  return {
    ...entry,
    gid: toHex(list.gid),
    ...(!isAll && { meters: rules.flatMap(({ meters }) => meters ?? []).map(toHex) }),
  };
}

/** As td/schemas/granted-epochs.schema.json describes it. */
const grantJson = ({ meter, gid, epoch, attempt, receivedS }: GrantedEpoch): object => ({
  meter: toHex(meter),
  gid: toHex(gid),
  epoch,
  attempt,
  grantedAt: isoTime(receivedS),
});
