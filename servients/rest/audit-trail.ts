/** What the routes write into the audit log: what was done, together with it where it can be, and what a known caller was refused. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { toHex } from '../../crypto/bytes.js';
import type { AuditDetails, AuditFacts } from '../../crypto/audit/entry.js';
import { GridringError, LimitError, UnavailableError } from '../../crypto/errors.js';
import { findEntry, type Membership } from '../../crypto/membership.js';
import type { PublishAudit } from '../../things/backend.js';
import type { EpochRow } from '../../things/stores.js';
import { RateLimit } from '../bindings/rate-limit.js';
import type { Doer } from '../issuer/logins.js';
import type { RestContext } from './context.js';

type Trail = Pick<RestContext, 'access' | 'audit'>;

/** Who asks for something, as the entries of it say. */
export const doerOf = ({ access }: Pick<Trail, 'access'>, request: FastifyRequest): Doer => ({
  actor: access.actorOf(request) ?? 'anonymous',
  requestId: request.id,
});

/** For a store's method that appends it together with the change. */
export const doneFacts = (
  trail: Trail,
  request: FastifyRequest,
  action: string,
  subject: string,
  details: AuditDetails = {},
): AuditFacts => trail.audit.facts({ ...doerOf(trail, request), action, subject, outcome: 'done', details });

/** Of what changes nothing. Before the answer leaves: what is answered is in the log. @throws UnavailableError */
export async function auditDone(
  trail: Trail,
  request: FastifyRequest,
  action: string,
  subject: string,
  details: AuditDetails = {},
): Promise<void> {
  await trail.audit.append({ ...doerOf(trail, request), action, subject, outcome: 'done', details });
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
      ...replacements(before, membership).map(({ subject, replaced, by }) =>
        audit.facts({ ...common, action: 'gateway.replace', subject, details: { gid, version, replaced, by } }),
      ),
      ...removed.map((subject) =>
        audit.facts({ ...common, action: 'membership.revoke', subject, details: { gid, version } }),
      ),
    ];
  };

/** A list in which one that coordinates stands in the place of another: `gridring gateway replace` makes such. */
function replacements(before: Membership | undefined, after: Membership) {
  if (before === undefined) return [];
  const [old, now] = [coordinators(before), coordinators(after)];
  const gone = [...old.keys()].filter((certHash) => !now.has(certHash));
  const come = [...now.keys()].filter((certHash) => !old.has(certHash));
  return gone.flatMap((replaced, i) => {
    const by = come[i];
    return by === undefined ? [] : [{ subject: old.get(replaced) ?? replaced, replaced, by }];
  });
}

/** By certHash in hex: the URN where the certificate is known. */
const coordinators = ({ list, certificates }: Membership): ReadonlyMap<string, string> =>
  new Map(
    list.entries.flatMap(({ certHash }, i) => {
      if (!findEntry(list, certHash, 'coordinator')) return [];
      const certificate = certificates[i];
      const name = toHex(certHash);
      return [[name, certificate ? `urn:gridring:${certificate.role}:${certificate.id}` : name]];
    }),
  );

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
