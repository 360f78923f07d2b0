/**
 * All routes of the backend, as plugins, so that the limits of the server cover them. A new one is a file with a function
 * `(scope, context)` in the list below; what its routes say of themselves is an `operation` (operation.ts).
 */
import type { FastifyInstance } from 'fastify';
import { requireGuards, type GuardedRoute } from './access.js';
import { addEtags } from './conditional.js';
import type { RestContext } from './context.js';
import { auditRoutes } from './audit.js';
import { auditRefusals } from './audit-trail.js';
import { directoryRoutes } from './directory.js';
import { commandRoutes } from './commands.js';
import { enrolmentRoutes } from './enrolments.js';
import { epochRoutes } from './epochs.js';
import { addDeprecations } from './deprecation.js';
import { errorRoutes } from './errors.js';
import { eventRoutes } from './events.js';
import { exportRoutes } from './exports.js';
import { groupRoutes } from './groups.js';
import { healthRoutes } from './health.js';
import { identityRoutes } from './identity.js';
import { loginLinkRoutes } from './login-links.js';
import { memberRoutes } from './members.js';
import { membershipRoutes } from './memberships.js';
import { parseMessages } from './messages.js';
import { meterRoutes } from './meters.js';
import { describeApi, openApiRoutes } from './openapi.js';
import { addLinks } from './paging.js';
import { policyRoutes } from './policies.js';
import { proposalRoutes } from './proposals.js';
import { readingRoutes } from './readings.js';
import { roleRoutes } from './roles.js';
import { userRoutes } from './users.js';
import { validateStrictly } from './validation.js';

const api = [
  identityRoutes,
  groupRoutes,
  policyRoutes,
  membershipRoutes,
  epochRoutes,
  readingRoutes,
  meterRoutes,
  commandRoutes,
  memberRoutes,
  exportRoutes,
  eventRoutes,
  roleRoutes,
  userRoutes,
  loginLinkRoutes,
  auditRoutes,
  enrolmentRoutes,
  proposalRoutes,
];

const prefix = '/api/v1';

/** @returns all routes and whom they let in, once the server is ready */
export function mountRoutes(app: FastifyInstance, context: RestContext): readonly GuardedRoute[] {
  const routes: GuardedRoute[] = [];
  const onGuarded = (route: GuardedRoute): number => routes.push(route);
  describeApi(app, context.version);
  void app.register(
    async (scope) => {
      requireGuards(scope, onGuarded);
      validateStrictly(scope);
      addDeprecations(scope);
      parseMessages(scope);
      auditRefusals(scope, context);
      addEtags(scope);
      addLinks(scope);
      for (const addRoutes of api) addRoutes(scope, context);
    },
    { prefix },
  );
  // The description is everybody's, and the plugin that serves its page adds routes without asking.
  void app.register(
    async (scope) => {
      openApiRoutes(scope);
      errorRoutes(scope);
    },
    { prefix },
  );
  void app.register(async (scope) => {
    requireGuards(scope, onGuarded);
    validateStrictly(scope);
    healthRoutes(scope, context);
    addEtags(scope);
    directoryRoutes(scope, context);
  });
  return routes;
}
