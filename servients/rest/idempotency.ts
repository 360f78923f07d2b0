/**
 * Idempotency-Key (draft-ietf-httpapi-idempotency-key-header) on calls that create something: who repeats one because no
 * answer came gets the answer, and nothing is created twice. Kept in the database, so at every process of a deployment.
 *
 *   const creation = creations(context);
 *   scope.post('/things', { onRequest: access.needs('things:write'), ...creation.hooks,
 *     schema: operation({ …, creates: true }) }, (request) => make(creation.newId(request), …));
 */
import { createHash, randomUUID } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { KeptAnswer } from '../../things/idempotency-store.js';
import { uuidOf } from '../../things/uuid.js';
import { HttpRefusal } from '../bindings/http-problem.js';
import type { RestContext } from './context.js';

/** For how long a key is known. */
export const idempotencyS = 24 * 3_600;
/** Whoever has been at it for longer has been killed. */
const staleS = 60;

interface Creations {
  readonly hooks: {
    readonly preHandler: (request: FastifyRequest, reply: FastifyReply) => Promise<unknown>;
    readonly onSend: (request: FastifyRequest, reply: FastifyReply, payload: unknown) => Promise<unknown>;
  };
  /** A UUID for what is created: the same when the request comes again after a process was killed at it. */
  readonly newId: (request: FastifyRequest) => string;
}

export function creations({
  access,
  idempotency,
  nowS,
}: Pick<RestContext, 'access' | 'idempotency' | 'nowS'>): Creations {
  const claims = new WeakMap<FastifyRequest, Uint8Array>();
  return {
    hooks: {
      preHandler: async (request, reply) => {
        const key = request.headers['idempotency-key'];
        if (typeof key !== 'string') return undefined;
        const idHash = hashOf(access.principalOf(request).subject, key);
        const { method, url, body } = request;
        const asked = hashOf(method, url, body instanceof Uint8Array ? body : JSON.stringify(body ?? null));
        const claim = await idempotency.claim(idHash, asked, nowS(), nowS() - staleS);
        switch (claim.kind) {
          case 'claimed':
            claims.set(request, idHash);
            return undefined;
          case 'done':
            return answerAgain(reply, claim.answer);
          case 'under-way':
            throw new HttpRefusal(409, 'request-under-way', 'the request of this key is being done', {
              'retry-after': '1',
            });
          case 'other':
            throw new HttpRefusal(
              422,
              'idempotency-key-reused',
              'the key was sent with another request: choose another',
            );
        }
      },
      onSend: async (request, reply, payload) => {
        const idHash = claims.get(request);
        if (idHash === undefined) return payload;
        if (reply.statusCode >= 300) await idempotency.release(idHash);
        else await idempotency.keepAnswer(idHash, answerOf(reply, payload));
        return payload;
      },
    },
    newId: (request) => {
      const idHash = claims.get(request);
      return idHash === undefined ? randomUUID() : uuidOf(idHash);
    },
  };
}

function answerOf(reply: FastifyReply, payload: unknown): KeptAnswer {
  const textOf = (name: string): string | null => (reply.hasHeader(name) ? String(reply.getHeader(name)) : null);
  const body =
    payload instanceof Uint8Array ? payload : new TextEncoder().encode(typeof payload === 'string' ? payload : '');
  return { status: reply.statusCode, contentType: textOf('content-type'), location: textOf('location'), body };
}

function answerAgain(reply: FastifyReply, { status, contentType, location, body }: KeptAnswer): FastifyReply {
  if (contentType !== null) reply.header('content-type', contentType);
  if (location !== null) reply.header('location', location);
  return reply.code(status).send(body.length === 0 ? undefined : Buffer.from(body));
}

/** Of parts that may not run into one another. */
function hashOf(...parts: readonly (string | Uint8Array)[]): Uint8Array {
  const sum = createHash('sha256');
  for (const part of parts) sum.update(`${Buffer.byteLength(part)}:`).update(part);
  return new Uint8Array(sum.digest());
}
