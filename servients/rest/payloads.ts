/** The schemas of td/schemas/ under the names by which routes refer to them, which are those of OpenAPI's components. */
import type { FastifyInstance } from 'fastify';
import { resolveReference, type JsonObject } from '../../td/references.js';

/** A file of td/schemas/, or `<file>.<definition>` for a part of one. */
export const payloadNames = [
  'account',
  'account-certificate',
  'account-change',
  'account-new',
  'account-page',
  'audit-checkpoint',
  'audit-checkpoints',
  'audit-page',
  'audit-page.entry',
  'backend-groups',
  'backend-groups.group',
  'backend-identity',
  'chain',
  'chain.entry',
  'command',
  'command-page',
  'dropped',
  'enrolment.answer',
  'enrolment.certificates',
  'enrolment.invitation',
  'enrolment.page',
  'enrolment.renewal',
  'enrolment.request',
  'epoch-page',
  'epoch-recorded',
  'gateways',
  'gateways.gateway',
  'granted-epochs',
  'grants',
  'health',
  'lists',
  'login.link',
  'login.login',
  'login.newLink',
  'me',
  'members',
  'membership-published',
  'message.command',
  'message.commandReceipt',
  'message.endorsement',
  'message.membership',
  'message.proof',
  'message.proposal',
  'message.readings',
  'message.record',
  'message.short',
  'meter-certificates',
  'meters',
  'meters.meter',
  'policies',
  'policies.policy',
  'problem',
  'proposal',
  'proposal-page',
  'readers',
  'readings',
  'roles',
  'waiting-commands',
] as const;

export type PayloadName = (typeof payloadNames)[number];

/** Complete in itself: what it refers to is in it. */
export function payloadSchema(name: PayloadName): JsonObject {
  const [file = '', definition] = name.split('.');
  const fragment = definition === undefined ? '' : `/definitions/${definition}`;
  const schema = resolveReference(`schemas/${file}.schema.json#${fragment}`) as JsonObject;
  // What is in these stands wherever it was referred to.
  return Object.fromEntries([['$id', name], ...Object.entries(schema).filter(([field]) => field !== 'definitions')]);
}

export const payload = (name: PayloadName): { readonly $ref: string } => ({ $ref: `${name}#` });

export function addPayloads(app: FastifyInstance): void {
  for (const name of payloadNames) app.addSchema(payloadSchema(name));
}
