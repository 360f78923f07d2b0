/** GET /health: whether the backend can do its work; 503 when it cannot. Open, for those who watch over processes. */
import type { FastifyInstance } from 'fastify';
import { open } from './access.js';
import type { RestContext } from './context.js';
import { json, operation } from './operation.js';

interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly detail?: string;
}

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
