/** The audit log: its entries page by page, and what the backend has signed of it. */
import type { FastifyInstance } from 'fastify';
import { toBase64Url, toHex } from '../../crypto/bytes.js';
import { parseAuditCheckpoint } from '../../crypto/audit/checkpoint.js';
import { auditOutcomes, type AuditOutcome } from '../../crypto/audit/entry.js';
import { MalformedError, NotFoundError } from '../../crypto/errors.js';
import type { AuditCheckpointRow, AuditFilter } from '../../things/stores.js';
import { auditEntryJson } from '../audit-json.js';
import { auditDone } from './audit-trail.js';
import type { RestContext } from './context.js';
import { isoTime } from './epoch-json.js';
import { json, operation } from './operation.js';

const pageMaximum = 1_000;
const pageDefault = 100;
const page = { type: 'integer', minimum: 1, maximum: pageMaximum };
const after = { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER };
/** Of one of them. */
const place = { type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER };
const text = { type: 'string', minLength: 1, maxLength: 300 };
const time = { type: 'string', format: 'date-time' };

interface AuditQuery {
  readonly after?: number;
  readonly limit?: number;
  readonly last?: number;
  readonly actor?: string;
  readonly action?: string;
  readonly subject?: string;
  readonly outcome?: AuditOutcome;
  readonly since?: string;
  readonly until?: string;
}

const auditQuery = {
  after,
  limit: page,
  last: page,
  actor: text,
  action: text,
  subject: text,
  outcome: { type: 'string', enum: auditOutcomes },
  since: time,
  until: time,
};

const filterOf = ({ actor, action, subject, outcome, since, until }: AuditQuery): AuditFilter => ({
  ...(actor !== undefined && { actor }),
  ...(action !== undefined && { action }),
  ...(subject !== undefined && { subject }),
  ...(outcome !== undefined && { outcome }),
  ...(since !== undefined && { sinceS: Math.ceil(Date.parse(since) / 1000) }),
  ...(until !== undefined && { untilS: Math.floor(Date.parse(until) / 1000) }),
});

export function auditRoutes(scope: FastifyInstance, context: RestContext): void {
  const { access, audit } = context;
  const { store } = audit;
  const onRequest = access.needs('audit:read');
  const log = toHex(store.log);

  scope.get<{ Querystring: AuditQuery }>(
    '/audit',
    {
      onRequest,
      schema: operation({
        id: 'listAudit',
        tag: 'Audit',
        summary: 'Entries of the audit log',
        description: 'Those after a sequence, or the last ones; all of them, or those that fit.',
        query: auditQuery,
        gives: { 200: json('audit-page', 'One page of entries') },
      }),
    },
    async ({ query }) => {
      const { last, after: from, limit = pageDefault } = query;
      if (last !== undefined && (from !== undefined || query.limit !== undefined)) {
        throw new MalformedError('input-invalid', 'the query has last, or else after and limit');
      }
      const filter = filterOf(query);
      const found =
        last === undefined ? await store.entries(from ?? 0, limit, filter) : await store.lastEntries(last, filter);
      const next = last === undefined && found.length === limit ? found.at(-1)?.sequence : undefined;
      return { log, entries: found.map(auditEntryJson), ...(next !== undefined && { next }) };
    },
  );

  scope.get<{ Params: { sequence: number } }>(
    '/audit/:sequence',
    {
      onRequest,
      schema: operation({
        id: 'getAuditEntry',
        tag: 'Audit',
        summary: 'An entry of the audit log',
        params: { sequence: place },
        gives: { 200: json('audit-page.entry', 'The entry') },
      }),
    },
    async ({ params: { sequence } }) => {
      const [entry] = await store.entries(sequence - 1, 1);
      if (entry?.sequence !== sequence) throw new NotFoundError('audit-entry-unknown', 'no entry of that sequence');
      return auditEntryJson(entry);
    },
  );

  scope.get<{ Params: { number: number } }>(
    '/audit/checkpoints/:number',
    {
      onRequest,
      schema: operation({
        id: 'getAuditCheckpoint',
        tag: 'Audit',
        summary: 'A checkpoint of the audit log',
        params: { number: place },
        gives: { 200: json('audit-checkpoint', 'The checkpoint') },
      }),
    },
    async ({ params: { number } }) => {
      const [row] = await store.checkpoints(number - 1, 1);
      if (row?.number !== number) throw new NotFoundError('audit-checkpoint-unknown', 'no checkpoint of that number');
      return checkpointJson(row);
    },
  );

  scope.get<{ Querystring: Pick<AuditQuery, 'after' | 'limit'> }>(
    '/audit/checkpoints',
    {
      onRequest,
      schema: operation({
        id: 'listAuditCheckpoints',
        tag: 'Audit',
        summary: 'What the backend has signed of the audit log',
        query: { after, limit: page },
        gives: { 200: json('audit-checkpoints', 'One page of checkpoints') },
      }),
    },
    async ({ query: { after: from = 0, limit = pageDefault } }) => {
      const found = await store.checkpoints(from, limit);
      const next = found.length === limit ? found.at(-1)?.number : undefined;
      return { log, checkpoints: found.map(checkpointJson), ...(next !== undefined && { next }) };
    },
  );

  // What was asked for is in the log before it is signed: an export shows who made it.
  scope.post(
    '/audit/checkpoints',
    {
      onRequest,
      schema: operation({
        id: 'signAuditCheckpoint',
        tag: 'Audit',
        summary: 'Sign how far the audit log has come',
        gives: {
          201: { ...json('audit-checkpoint', 'The newest checkpoint'), headers: { location: { type: 'string' } } },
        },
      }),
    },
    async (request, reply) => {
      await auditDone(context, request, 'audit.checkpoint', log);
      const row = await audit.checkpoint();
      if (row) reply.header('location', `/api/v1/audit/checkpoints/${row.number}`);
      return reply.code(201).send(row && checkpointJson(row));
    },
  );
}

const checkpointJson = ({ number, sequence, message }: AuditCheckpointRow): object => ({
  number,
  sequence,
  time: isoTime(parseAuditCheckpoint(message).timeS),
  message: toBase64Url(message),
});
