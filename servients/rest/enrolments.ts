/** Enrolments: invitations by whoever may manage them, requests of devices, and the answers of who holds the CA's key. */
import type { FastifyInstance } from 'fastify';
import { fromBase64Url, fromHex, toBase64Url, toHex } from '../../crypto/bytes.js';
import { MalformedError } from '../../crypto/errors.js';
import type { Enrolment, EnrolmentKind } from '../../things/enrolment-store.js';
import type { EnrolmentAnswer } from '../../things/enrolments.js';
import { limitRate } from '../bindings/http-app.js';
import { open } from './access.js';
import { auditDone } from './audit-trail.js';
import type { RestContext } from './context.js';
import { isoTime } from './epoch-json.js';
import { json, noContent, operation } from './operation.js';
import { payload } from './payloads.js';
import { pageLimit } from './validation.js';

const device = { type: 'string', pattern: '^urn:gridring:(meter|gateway|backend|reader|operator):[a-z0-9-]{1,64}$' };
const kind = { enum: ['invitation', 'renewal'] };

interface OfDevice {
  readonly device: string;
}
interface OfKind extends OfDevice {
  readonly kind: EnrolmentKind;
}

/** A device asks every ten seconds; who tries codes may not try many. */
const asksPerMinute = 20;

export function enrolmentRoutes(scope: FastifyInstance, context: RestContext): void {
  const { access, backend, enrolments } = context;
  const manages = access.needs('enrolment:manage');

  scope.get<{ Querystring: { after: string; limit: number } }>(
    '/enrolments',
    {
      onRequest: manages,
      schema: operation({
        id: 'listEnrolments',
        tag: 'Enrolments',
        summary: 'Devices that are invited, wait for certificates, or have not fetched them',
        query: { after: { type: 'string', maxLength: 128, default: '' }, limit: pageLimit(500, 100) },
        gives: { 200: json('enrolment.page', 'Ascending by device; the next page follows the last of this one') },
      }),
    },
    async ({ query }) => ({ enrolments: (await enrolments.list(query.after, query.limit)).map(enrolmentJson) }),
  );

  scope.put<{ Params: OfDevice; Body: { codeHash: string; expiresAt: string } }>(
    '/enrolments/:device/invitation',
    {
      onRequest: manages,
      schema: operation({
        id: 'inviteDevice',
        tag: 'Enrolments',
        summary: 'Expect a device that will show a code',
        description:
          'Takes the place of an invitation of the same device. The code itself is told to the device alone.',
        params: { device },
        body: { content: { 'application/json': { schema: payload('enrolment.invitation') } } },
        gives: { 204: noContent('The device is expected') },
      }),
    },
    async (request, reply) => {
      const { codeHash, expiresAt } = request.body;
      const expiresS = Math.floor(Date.parse(expiresAt) / 1000);
      await enrolments.invite(request.params.device, fromHex(codeHash), expiresS);
      await auditDone(context, request, 'enrolment.invite', request.params.device, { expiresAt });
      return reply.code(204).send();
    },
  );

  scope.delete<{ Params: OfKind }>(
    '/enrolments/:device/:kind',
    {
      onRequest: manages,
      schema: operation({
        id: 'withdrawEnrolment',
        tag: 'Enrolments',
        summary: 'Withdraw an invitation, or refuse a request',
        params: { device, kind },
        gives: { 204: noContent('It is forgotten') },
      }),
    },
    async (request, reply) => {
      const { params } = request;
      await enrolments.withdraw(params.device, params.kind);
      await auditDone(context, request, 'enrolment.withdraw', params.device, { kind: params.kind });
      return reply.code(204).send();
    },
  );

  scope.put<{ Params: OfKind; Body: { certificates: readonly string[] } }>(
    '/enrolments/:device/:kind/certificates',
    {
      onRequest: manages,
      schema: operation({
        id: 'answerEnrolment',
        tag: 'Enrolments',
        summary: 'Give a device the certificate that it asked for',
        description: 'It must be for the name and the key of the request, and verify up to the root.',
        params: { device, kind },
        body: { content: { 'application/json': { schema: payload('enrolment.certificates') } } },
        gives: { 204: noContent('The device can fetch it') },
        refuses: [409],
      }),
    },
    async (request, reply) => {
      const { params, body } = request;
      await enrolments.issue(params.device, params.kind, body.certificates.map(bytesOf));
      await auditDone(context, request, 'enrolment.answer', params.device, { kind: params.kind });
      return reply.code(204).send();
    },
  );

  scope.post<{ Body: { device: string; code: string; request: string } }>(
    '/enrolments/requests',
    {
      onRequest: [open, limitRate(scope, asksPerMinute)],
      schema: operation({
        id: 'requestCertificate',
        tag: 'Enrolments',
        summary: 'Ask for a certificate with the code of an invitation; asked again, learn whether it is there',
        description: 'The same request again changes nothing. With another request the code is used up.',
        body: { content: { 'application/json': { schema: payload('enrolment.request') } } },
        gives: { 200: json('enrolment.answer', 'The certificate, or that it is waited for') },
      }),
    },
    async ({ body }) => answerJson(await enrolments.ask(body.device, body.code, bytesOf(body.request))),
  );

  scope.post<{ Body: { message: string } }>(
    '/enrolments/renewals',
    {
      onRequest: access.needs('membership:read'),
      schema: operation({
        id: 'renewCertificate',
        tag: 'Enrolments',
        summary:
          'Ask for the next certificate with the one that is still valid; asked again, learn whether it is there',
        description:
          'The holder has signed it; a gateway brings those of its meters. Asked again for the same key, it waits on.',
        body: { content: { 'application/json': { schema: payload('enrolment.renewal') } } },
        gives: { 200: json('enrolment.answer', 'The certificate, or that it is waited for') },
      }),
    },
    async ({ body }) =>
      answerJson(
        await enrolments.renew(bytesOf(body.message), (holder) => {
          backend.requireHolds(holder);
        }),
      ),
  );
}

/** @throws MalformedError `base64url-malformed` */
export function bytesOf(text: string): Uint8Array {
  try {
    return fromBase64Url(text);
  } catch (cause) {
    throw new MalformedError('base64url-malformed', 'not unpadded, canonical base64url', cause);
  }
}

const answerJson = (certificates: EnrolmentAnswer): object =>
  certificates ? { state: 'issued', certificates: certificates.map(toBase64Url) } : { state: 'waiting' };

/** Of an invitation, the proof is the code's hash, which is nobody's business. */
const enrolmentJson = ({ proof, request, certificates, createdS, expiresS, ...of }: Enrolment): object => ({
  ...of,
  state: certificates ? 'issued' : request ? 'waiting' : 'invited',
  createdAt: isoTime(createdS),
  expiresAt: isoTime(expiresS),
  ...(of.kind === 'renewal' && { replaces: toHex(proof) }),
  ...(request && { [of.kind === 'renewal' ? 'message' : 'request']: toBase64Url(request) }),
  ...(certificates && { certificates: certificates.map(toBase64Url) }),
});
