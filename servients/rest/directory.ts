/** The W3C WoT Thing Description Directory of the backend, over HTTP (WoT Discovery §7.3.2). */
import type { FastifyInstance } from 'fastify';
import type { RestContext } from './context.js';
import { directoryEventRoutes } from './directory-events.js';
import { compressAnswers, describeProblems, parseOnly, tdTypes } from './directory-media.js';
import { linkRoutes } from './links.js';
import { searchRoutes } from './search.js';
import { thingRoutes } from './things.js';

export function directoryRoutes(scope: FastifyInstance, context: RestContext): void {
  parseOnly(scope, tdTypes);
  compressAnswers(scope);
  describeProblems(scope);
  linkRoutes(scope);
  thingRoutes(scope, context);
  searchRoutes(scope, context);
  directoryEventRoutes(scope, context);
}
