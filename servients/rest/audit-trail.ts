/** What the routes write into the audit log: what was done, together with it where it can be, and what a known caller was refused. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { toHex } from '../../crypto/bytes.js';
import type { AuditDetails, AuditFacts } from '../../crypto/audit/entry.js';
import { GridringError, LimitError, UnavailableError } from '../../crypto/errors.js';
import type { Membership } from '../../crypto/membership.js';
import type { PublishAudit } from '../../things/backend.js';
import type { EpochRow } from '../../things/stores.js';
import { RateLimit } from '../bindings/rate-limit.js';
import type { RestContext } from './context.js';

type Trail = Pick<RestContext, 'access' | 'audit'>;

/** Before the answer leaves: what is answered is in the log. @throws UnavailableError */
export async function auditDone(
  { access, audit }: Trail,
  request: FastifyRequest,
  action: string,
  subject: string,
  details: AuditDetails = {},
): Promise<void> {
  const actor = access.actorOf(request) ?? 'anonymous';
  await audit.append({ actor, action, subject, outcome: 'done', requestId: request.id, details });
}

/** Whoever brings a list, it is the authority that made it; who that was is in the list's signature. */
export const publishFacts =
  ({ access, audit }: Trail, request: FastifyRequest): PublishAudit =>
  (membership, before) => {
    const { list, listHash } = membership;
    const gid = toHex(list.gid);
    const common = { actor: access.actorOf(request) ?? 'anonymous', outcome: 'done', requestId: request.id } as const;
    const version = `${list.version}.${list.revision}`;
    const details = { version, listHash: toHex(listHash), entries: list.entries.length };
    const removed = before === undefined ? [] : removedFrom(before, membership);
    return [
      audit.facts({ ...common, action: 'membership.publish', subject: gid, details }),
      ...removed.map((subject) =>
        audit.facts({ ...common, action: 'membership.revoke', subject, details: { gid, version } }),
      ),
    ];
  };

/** Whom the one list names and the other does not; by URN where the certificate is known. */
function removedFrom(before: Membership, after: Membership): readonly string[] {
  const stays = new Set(after.list.entries.map(({ certHash }) => toHex(certHash)));
  return before.list.entries.flatMap(({ certHash }, i) => {
    if (stays.has(toHex(certHash))) return [];
    const certificate = before.certificates[i];
    return [certificate ? `urn:gridring:${certificate.role}:${certificate.id}` : toHex(certHash)];
  });
}

export const recordFacts =
  ({ access, audit }: Trail, request: FastifyRequest): ((row: EpochRow) => readonly AuditFacts[]) =>
  ({ gid, epoch, attempt, th2, listVersion, listRevision, members, reason }) => [
    audit.facts({
      actor: access.actorOf(request) ?? 'anonymous',
      action: 'epoch.record',
      subject: toHex(gid),
      outcome: 'done',
      requestId: request.id,
      details: {
        epoch,
        attempt,
        keyName: toHex(th2.subarray(0, 8)),
        list: `${listVersion}.${listRevision}`,
        members,
        reason,
      },
    }),
  ];

/** For each caller and code (without colons, which it takes for an address): a flood does not fill the log. */
const refusedEntries = { perSecond: 0.1, burst: 20, sources: 4_096 };

/** Logs what a caller that is known was refused. Who nobody knows is in the counters only. */
export function auditRefusals(scope: FastifyInstance, { access, audit }: Trail): void {
  const entries = new RateLimit(refusedEntries);
  scope.setErrorHandler(async (error, request) => {
    const actor = access.actorOf(request);
    if (
      actor !== undefined &&
      isRefusal(error) &&
      entries.take(`${actor} ${error.code}`.replaceAll(':', ' '), Date.now())
    ) {
      const { method, routeOptions } = request;
      const details = { code: error.code, method, route: routeOptions.url ?? '' };
      const event = {
        actor,
        action: 'request.refuse',
        subject: '',
        outcome: 'refused',
        requestId: request.id,
      } as const;
      // A database that cannot be written to is no reason to answer something else.
      await audit.append({ ...event, details }).catch((cause: unknown) => {
        request.log.warn({ err: cause }, 'a refusal could not be logged');
      });
    }
    // To the handler of the server, which answers.
    throw error;
  });
}

const isRefusal = (error: unknown): error is GridringError =>
  error instanceof GridringError && !(error instanceof UnavailableError || error instanceof LimitError);
