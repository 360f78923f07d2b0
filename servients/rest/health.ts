/**
 * GET /health: whether the backend can do its work, /health/live: that its process runs, /health/ready: whether to send it
 * requests. 503 when not. Open, for those who watch over processes.
 */
import type { FastifyInstance } from 'fastify';
import type { Check } from '../operations/readiness.js';
import { open } from './access.js';
import type { RestContext } from './context.js';
import { json, operation } from './operation.js';

export function healthRoutes(scope: FastifyInstance, context: RestContext): void {
  const startedS = context.nowS();
  const schema = operation({
    id: 'getHealth',
    tag: 'Service',
    summary: 'Whether the backend can do its work',
    gives: { 200: json('health', 'It can, or in part'), 503: json('health', 'It cannot') },
  });
  scope.get('/health', { onRequest: open, schema }, async (request, reply) => {
    const database = await databaseCheck(context, (error) => {
      request.log.warn({ err: error }, 'the database cannot be read');
    });
    const checks = [database, membershipCheck(context)];
    return reply.code(database.ok ? 200 : 503).send({
      status: checks.every(({ ok }) => ok) ? 'ok' : 'degraded',
      version: context.version,
      uptimeS: Math.max(0, context.nowS() - startedS),
      checks,
    });
  });

  const answer = (status: 'ok' | 'degraded', checks: readonly Check[]) => ({
    ...{ status, version: context.version, uptimeS: Math.max(0, context.nowS() - startedS), checks },
  });
  const live = operation({
    id: 'getLiveness',
    tag: 'Service',
    summary: 'That the process runs: where it does not answer, start it again',
    gives: { 200: json('health', 'It runs') },
  });
  scope.get('/health/live', { onRequest: open, schema: live }, async () => answer('ok', []));

  const ready = operation({
    id: 'getReadiness',
    tag: 'Service',
    summary: 'Whether to send it requests: it has started, is not about to stop, and reaches its database',
    gives: { 200: json('health', 'Yes'), 503: json('health', 'Not now') },
  });
  scope.get('/health/ready', { onRequest: open, schema: ready }, async (_request, reply) => {
    const { ready: isReady, checks } = await context.readiness.read();
    return reply.code(isReady ? 200 : 503).send(answer(isReady ? 'ok' : 'degraded', checks));
  });
}

async function databaseCheck({ backend }: RestContext, onError: (error: unknown) => void): Promise<Check> {
  const name = 'database';
  try {
    await backend.refresh();
    return { name, ok: true };
  } catch (error) {
    onError(error);
    return { name, ok: false, detail: 'cannot be read; see the log' };
  }
}

function membershipCheck({ backend }: RestContext): Check {
  const name = 'membership';
  const expired = backend.memberships.length - backend.currentMemberships.length;
  if (expired === 0) return { name, ok: true };
  return {
    name,
    ok: false,
    detail: `${expired} of the groups' membership lists are not valid now: publish newer ones`,
  };
}
