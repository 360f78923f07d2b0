/** Proposals of operators to the authority: brought by anybody who may command, shown to whoever sees the lists. */
import type { FastifyInstance } from 'fastify';
import { fromHex, toBase64Url, toHex } from '../../crypto/bytes.js';
import { NotFoundError } from '../../crypto/errors.js';
import type { KeptProposal } from '../../things/proposal-store.js';
import type { Proposals } from '../../things/proposals.js';
import { auditDone } from './audit-trail.js';
import type { RestContext } from './context.js';
import { isoTime } from './epoch-json.js';
import { unknownGroup } from './groups.js';
import { messageOf } from './messages.js';
import { json, messageBody, operation } from './operation.js';
import { gidParam, pageLimit } from './validation.js';

const proposalId = { type: 'string', pattern: '^[0-9a-f]{64}$' };

interface OfGroup {
  readonly Params: { readonly gid: string };
}

export function proposalRoutes(scope: FastifyInstance, context: RestContext): void {
  const { access, backend, proposals } = context;
  const theProposal = json('proposal', 'What it says, as it was signed, and what has become of it');

  scope.post<OfGroup>(
    '/groups/:gid/proposals',
    {
      onRequest: access.needs('command'),
      schema: operation({
        id: 'postProposal',
        tag: 'Groups',
        summary: 'Bring what an operator proposes to the authority',
        description:
          'Signed by the key of an operator of the list: to take a member out, or to let a reader read meters, or no longer. ' +
          'It changes nothing until the authority signs a list that does it. The same again changes nothing.',
        params: { gid: gidParam },
        body: messageBody('message.proposal'),
        gives: { 200: theProposal },
        refuses: [409],
      }),
    },
    async (request, reply) => {
      const { kept, fresh } = await proposals.take(fromHex(request.params.gid), messageOf(request));
      const { proposal } = proposals.shown(kept);
      if (fresh) {
        const { kind, operator, subject } = proposal;
        const details = { kind, gid: toHex(kept.gid), operator: toHex(operator), certHash: toHex(subject) };
        await auditDone(context, request, 'proposal.take', toHex(kept.id), details);
      }
      reply.header('location', `/api/v1/groups/${toHex(kept.gid)}/proposals/${toHex(kept.id)}`);
      return proposalJson(proposals, kept);
    },
  );

  const onRequest = access.needs('membership:read');
  scope.get<OfGroup & { Querystring: { after?: string; limit: number } }>(
    '/groups/:gid/proposals',
    {
      onRequest,
      schema: operation({
        id: 'listProposals',
        tag: 'Groups',
        summary: 'What operators have proposed to the authority',
        params: { gid: gidParam },
        query: { after: proposalId, limit: pageLimit(100, 20) },
        gives: { 200: json('proposal-page', 'One page, in the order of the ids') },
      }),
    },
    async ({ params, query: { after = '', limit } }) => {
      if (!backend.memberships.some(({ list }) => toHex(list.gid) === params.gid)) throw unknownGroup();
      const rows = await proposals.of(fromHex(params.gid), fromHex(after), limit);
      const last = rows.length === limit ? rows.at(-1) : undefined;
      return { proposals: rows.map((row) => proposalJson(proposals, row)), ...(last && { next: toHex(last.id) }) };
    },
  );

  scope.get<{ Params: { gid: string; id: string } }>(
    '/groups/:gid/proposals/:id',
    {
      onRequest,
      schema: operation({
        id: 'getProposal',
        tag: 'Groups',
        summary: 'One proposal',
        params: { gid: gidParam, id: proposalId },
        gives: { 200: theProposal },
      }),
    },
    async ({ params: { gid, id } }) => {
      const kept = await proposals.one(fromHex(id));
      if (!kept || toHex(kept.gid) !== gid) throw new NotFoundError('proposal-unknown', 'no proposal of that id here');
      return proposalJson(proposals, kept);
    },
  );
}

/** As td/schemas/proposal.schema.json describes it. */
function proposalJson(proposals: Proposals, kept: KeptProposal): object {
  const { proposal, state } = proposals.shown(kept);
  const { id, gid, operator, kind, subject, meters, madeS, expiresS } = proposal;
  return {
    ...{ id: toHex(id), gid: toHex(gid), operator: toHex(operator), kind, certHash: toHex(subject) },
    ...(meters && { meters: meters.map(toHex) }),
    ...{ madeAt: isoTime(madeS), takenAt: isoTime(kept.takenS), expiresAt: isoTime(expiresS), state },
    message: toBase64Url(kept.message),
  };
}
