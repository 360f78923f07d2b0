/** The chains of meters, their sealed readings and grants. What a caller may not read does not exist for it. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { toBase64Url, toHex } from '../../crypto/bytes.js';
import type { EntryKind } from '../../crypto/envelope/chain.js';
import { MalformedError, NotFoundError } from '../../crypto/errors.js';
import type { DroppedStretch, EntryRow } from '../../things/stores.js';
import type { Principal } from '../auth/principal.js';
import { auditDone } from './audit-trail.js';
import type { RestContext } from './context.js';
import { isoTime } from './epoch-json.js';
import { countOf, droppedOf, entriesOf, lastEntriesOf } from './meter-line.js';
import { json, operation } from './operation.js';
import { VisibleMeters, type View, type VisibleMeter } from './visible-meters.js';

/** An id as certified, its URN, or a certHash in hex. */
const meterName = { type: 'string', pattern: '^(?:urn:gridring:meter:)?[a-z0-9-]{1,64}$' };
const pageMaximum = 500;
const pageDefault = 100;
const page = { type: 'integer', minimum: 1, maximum: pageMaximum };

interface PageQuery {
  readonly after?: number;
  readonly limit?: number;
  readonly last?: number;
}

interface MetersQuery {
  readonly after?: string;
  readonly limit?: number;
}

const certHashHex = { type: 'string', pattern: '^[0-9a-f]{64}$' };

/**
 * All meters in the order of the lists; or where a page is asked for, those that follow a certHash in the order of these,
 * and after which the next page begins.
 */
function pageOf(
  { meters, byKey }: View,
  { after, limit }: MetersQuery,
): { readonly meters: readonly VisibleMeter[]; readonly next?: string } {
  if (after === undefined && limit === undefined) return { meters };
  const start = after === undefined ? 0 : firstAfter(byKey, after);
  const end = start + (limit ?? pageDefault);
  const next = end < byKey.length ? byKey[end - 1]?.key : undefined;
  return { meters: byKey.slice(start, end), ...(next !== undefined && { next }) };
}

/** The index of the first whose key is greater. */
function firstAfter(byKey: readonly VisibleMeter[], after: string): number {
  let [low, high] = [0, byKey.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((byKey[middle]?.key ?? '') > after) high = middle;
    else low = middle + 1;
  }
  return low;
}

interface ChainQuery extends PageQuery {
  readonly kind?: EntryKind;
}

const entryKind = { type: 'string', enum: ['reading', 'gap', 'checkpoint'] };

export function meterRoutes(scope: FastifyInstance, context: RestContext): void {
  const { backend, store, access } = context;
  const onRequest = access.needs('readings:read');
  const visible = new VisibleMeters(backend);
  const meterOf = (request: FastifyRequest<{ Params: { id: string } }>): VisibleMeter => {
    const meter = visible.of(access.principalOf(request), 'readings:read').find(request.params.id);
    if (!meter) throw unknownMeter();
    return meter;
  };

  scope.get<{ Querystring: MetersQuery }>(
    '/meters',
    {
      onRequest: access.needs('meters:read'),
      schema: operation({
        id: 'listMeters',
        tag: 'Meters',
        summary: 'The meters that the caller may see',
        description: 'All of them, or with after or limit page by page in the order of their certHashes.',
        query: { after: certHashHex, limit: page },
        gives: { 200: json('meters', 'The meters, and how many readings there are of each') },
      }),
    },
    async (request) => {
      const { meters, next } = pageOf(visible.of(access.principalOf(request), 'meters:read'), request.query);
      return { meters: await counted(meters), ...(next !== undefined && { next }) };
    },
  );
  const counted = async (meters: readonly VisibleMeter[]): Promise<readonly object[]> => {
    const rows = await store.readingCounts(meters.flatMap(({ line }) => line));
    const counts = new Map(rows.map((row) => [toHex(row.meter), row]));
    return meters.map(({ id, key, line }) => ({ id, certHash: key, ...countOf(line, counts, toHex) }));
  };

  scope.get<{ Params: { id: string } }>(
    '/meters/:id',
    {
      onRequest: access.needs('meters:read'),
      schema: operation({
        id: 'getMeter',
        tag: 'Meters',
        summary: 'A meter that the caller may see',
        params: { id: meterName },
        gives: { 200: json('meters.meter', 'The meter, and how many readings there are of it') },
      }),
    },
    async (request) => {
      const meter = visible.of(access.principalOf(request), 'meters:read').find(request.params.id);
      if (!meter) throw unknownMeter();
      const [shown] = await counted([meter]);
      return shown;
    },
  );

  const rowsFor = async (
    request: FastifyRequest<{ Params: { id: string }; Querystring: PageQuery }>,
    kind: EntryKind | 'any',
  ): Promise<readonly EntryRow[]> => {
    const { after, limit, last } = request.query;
    if (last !== undefined && (after !== undefined || limit !== undefined)) {
      throw new MalformedError('input-invalid', 'the query has last, or else after and limit');
    }
    const { line } = meterOf(request);
    return last === undefined
      ? entriesOf(store, line, after ?? 0, limit ?? pageDefault, kind)
      : lastEntriesOf(store, line, last, kind);
  };

  const params = { id: meterName };
  const after = { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER };
  scope.get<{ Params: { id: string }; Querystring: PageQuery }>(
    '/meters/:id/readings',
    {
      onRequest,
      schema: operation({
        id: 'listReadings',
        tag: 'Meters',
        summary: 'Sealed readings of a meter',
        description: 'Those after a sequence, or the last ones.',
        params,
        query: { after, limit: page, last: page },
        gives: { 200: json('readings', 'The readings as they were sealed') },
      }),
    },
    async (request) => {
      const rows = await rowsFor(request, 'reading');
      return { readings: rows.map(readingJson), ...nextOf(rows, request.query) };
    },
  );

  scope.get<{ Params: { id: string }; Querystring: ChainQuery }>(
    '/meters/:id/chain',
    {
      onRequest,
      schema: operation({
        id: 'listChain',
        tag: 'Meters',
        summary: 'The chain of a meter, or the entries of one kind',
        description: 'Those after a sequence, or the last ones.',
        params,
        query: { after, limit: page, last: page, kind: entryKind },
        gives: { 200: json('chain', 'The entries as they were signed') },
      }),
    },
    async (request) => {
      const rows = await rowsFor(request, request.query.kind ?? 'any');
      return { entries: rows.map(entryJson), ...nextOf(rows, request.query) };
    },
  );

  scope.get<{ Params: { id: string; sequence: number } }>(
    '/meters/:id/chain/:sequence',
    {
      onRequest,
      schema: operation({
        id: 'getChainEntry',
        tag: 'Meters',
        summary: 'An entry of the chain of a meter',
        params: { ...params, sequence: { ...after, minimum: 1 } },
        gives: { 200: json('chain.entry', 'The entry as it was signed') },
      }),
    },
    async (request) => {
      const { sequence } = request.params;
      const [row] = await entriesOf(store, meterOf(request).line, sequence - 1, 1, 'any');
      if (row?.sequence !== sequence) throw new NotFoundError('entry-unknown', 'no entry of that sequence is kept');
      return entryJson(row);
    },
  );

  scope.get<{ Params: { id: string } }>(
    '/meters/:id/dropped',
    {
      onRequest,
      schema: operation({
        id: 'listDropped',
        tag: 'Meters',
        summary: 'Which entries of a chain were given up by policy',
        params,
        gives: { 200: json('dropped', 'The stretches') },
      }),
    },
    async (request) => ({ dropped: (await droppedOf(store, meterOf(request).line)).map(droppedJson) }),
  );

  scope.get<{ Params: { id: string } }>(
    '/meters/:id/certificates',
    {
      onRequest,
      schema: operation({
        id: 'listMeterCertificates',
        tag: 'Meters',
        summary: 'The certificates under which a meter has signed its chain',
        description: 'The membership list names their hashes, so it does not matter who gives them.',
        params,
        gives: { 200: json('meter-certificates', 'The oldest first, the one that it has now last') },
      }),
    },
    async (request) => ({ certificates: backend.certificatesOf(meterOf(request).line).map(toBase64Url) }),
  );

  scope.get<{ Params: { id: string } }>(
    '/meters/:id/grants',
    {
      onRequest,
      schema: operation({
        id: 'listGrants',
        tag: 'Meters',
        summary: 'The grants of a meter to the caller',
        params,
        gives: { 200: json('grants', 'The grants, the newest last') },
      }),
    },
    async (request) => {
      const { line, id } = meterOf(request);
      const readers = readersOf(access.principalOf(request)).flatMap((reader) => backend.lineOf(reader));
      const grants = (
        await Promise.all(line.flatMap((meter) => readers.map((reader) => store.grants(meter, reader))))
      ).flat();
      await auditDone(context, request, 'grant.read', id, { grants: grants.length });
      return { grants: grants.map((message) => ({ message: toBase64Url(message) })) };
    },
  );
}

const unknownMeter = (): NotFoundError => new NotFoundError('meter-unknown', 'no meter of that name that you may read');

/** To a person come the grants to the keys that its account has enrolled. */
const readersOf = (caller: Principal): readonly Uint8Array[] =>
  caller.kind === 'device' ? [caller.certificate.certHash] : (caller.account?.certHashes ?? []);

/** A full page may be followed by another. */
const nextOf = (rows: readonly EntryRow[], { limit = pageDefault, last }: PageQuery): { readonly next?: number } => {
  const end = last === undefined && rows.length === limit ? rows.at(-1) : undefined;
  return end ? { next: end.sequence } : {};
};

const droppedJson = ({ first, last, previousHash, hash }: DroppedStretch): object => ({
  first,
  last,
  previousHash: toHex(previousHash),
  hash: toHex(hash),
});

export const entryJson = (row: EntryRow): object => ({ kind: row.kind, ...readingJson(row) });

const readingJson = ({ sequence, epoch, attempt, receivedS, message }: EntryRow): object => ({
  sequence,
  epoch,
  attempt,
  receivedAt: isoTime(receivedS),
  message: toBase64Url(message),
});
