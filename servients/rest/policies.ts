/** The newest signed policy of each group, and of one. */
import type { FastifyInstance } from 'fastify';
import { toHex } from '../../crypto/bytes.js';
import type { Membership } from '../../crypto/membership.js';
import type { RestContext } from './context.js';
import { isoTime } from './epoch-json.js';
import { unknownGroup } from './groups.js';
import { json, operation } from './operation.js';
import { gidParam } from './validation.js';

export function policyRoutes(scope: FastifyInstance, { backend, access }: RestContext): void {
  const schema = operation({
    id: 'listPolicies',
    tag: 'Groups',
    summary: 'The newest signed policy of each group',
    gives: { 200: json('policies', 'The policies') },
  });
  scope.get('/policies', { onRequest: access.needs('membership:read'), schema }, async () => ({
    policies: backend.memberships.map(policyJson),
  }));

  const ofOne = operation({
    id: 'getPolicy',
    tag: 'Groups',
    summary: 'The newest signed policy of a group',
    params: { gid: gidParam },
    gives: { 200: json('policies.policy', 'The policy') },
  });
  scope.get<{ Params: { gid: string } }>(
    '/groups/:gid/policy',
    { onRequest: access.needs('membership:read'), schema: ofOne },
    async ({ params }) => {
      const newest = backend.memberships.find(({ list }) => toHex(list.gid) === params.gid);
      if (!newest) throw unknownGroup();
      return policyJson(newest);
    },
  );
}

/** As td/schemas/policies.schema.json describes it. */
function policyJson({ list }: Membership): object {
  const { policy } = list;
  return {
    gid: toHex(list.gid),
    listVersion: list.version,
    notBefore: isoTime(list.notBeforeS),
    notAfter: isoTime(list.notAfterS),
    suite: policy.suite,
    minMembers: policy.minMembers,
    requiredMembers: policy.requiredMembers.map(toHex),
    gatewayIsMember: policy.gatewayIsMember,
    profile: policy.profile,
    rekeyIntervalS: policy.rekeyIntervalS,
    graceS: policy.graceS,
    readings: policy.readings.map(({ reader, meters }) => ({
      reader: toHex(reader),
      ...(meters && { meters: meters.map(toHex) }),
    })),
    ...(policy.epochFloor !== null && { epochFloor: policy.epochFloor }),
  };
}
