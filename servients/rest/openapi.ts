/** The OpenAPI 3.1 description, made from what routes say of themselves, and its reference page. Both are open. */
import { STATUS_CODES } from 'node:http';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance, FastifySchema } from 'fastify';
import { jsonType } from '../bindings/media-types.js';
import { guardOf, open } from './access.js';
import { tags } from './operation.js';
import { addPayloads } from './payloads.js';

const problemType = 'application/problem+json';
const openApiYaml = 'application/yaml';

interface Described {
  readonly paths: Readonly<Record<string, Readonly<Record<string, DescribedOperation>>>>;
  components?: Record<string, unknown>;
}
interface DescribedOperation {
  'x-refusals'?: readonly number[];
  responses: Record<string, object>;
}

/** To be called before the routes are added, and on the server itself. */
export function describeApi(app: FastifyInstance, version: string): void {
  addPayloads(app);
  void app.register(swagger, {
    stripBasePath: false,
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'gridring backend',
        version,
        description:
          'Membership lists, records of epochs and sealed readings. The backend holds no key that opens any of it. ' +
          'The same operations are the affordances of its Thing Description.',
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      } as { title: string; version: string },
      servers: [{ url: '/' }],
      tags: Object.entries(tags).map(([name, description]) => ({ name, description })),
      components: {
        securitySchemes: {
          token: {
            type: 'http',
            scheme: 'bearer',
            bearerFormat: 'JWT',
            description: "Signed with the key of the caller's certificate, or by an issuer that the backend trusts.",
          },
        },
      },
    },
    refResolver: {
      buildLocalReference: (json, _base, _fragment, i) => (typeof json.$id === 'string' ? json.$id : `def-${i}`),
    },
    transform: ({ schema, url, route }) => ({ schema: withSecurity(schema, route.onRequest), url }),
    transformObject: (document) => {
      if ('openapiObject' in document) giveRefusals(document.openapiObject as unknown as Described);
      return 'openapiObject' in document ? document.openapiObject : document.swaggerObject;
    },
  });
}

/** Whom a route lets in is said by its guard; the scope stands where OpenAPI 3.1 has roles. */
function withSecurity(schema: FastifySchema, onRequest: unknown): FastifySchema {
  const guard = guardOf(onRequest);
  if (guard === undefined) return schema;
  const { 'x-refusals': refusals = [] } = schema as { readonly 'x-refusals'?: readonly number[] };
  // Others that let in everybody look at a token where there is one.
  const asksNobody = [onRequest].flat().includes(open);
  return {
    ...schema,
    security: asksNobody ? [] : guard === 'open' ? [{}, { token: [] }] : [{ token: guard === 'known' ? [] : [guard] }],
    'x-refusals': asksNobody ? refusals : [...refusals, 401, 403],
  } as FastifySchema;
}

/** Each refusal is described once, among the components. */
function giveRefusals(document: Described): void {
  const used = new Set<number>();
  for (const [method, operation] of Object.values(document.paths).flatMap((path) => Object.entries(path))) {
    if (method === 'get' && operation.responses[200] && !isStream(operation.responses[200])) {
      operation.responses[304] = { $ref: '#/components/responses/304' };
    }
    for (const status of operation['x-refusals'] ?? []) {
      used.add(status);
      operation.responses[status] = { $ref: `#/components/responses/${status}` };
    }
    delete operation['x-refusals'];
  }
  const responses = [...used].sort().map((status) => [status, refusal(status)] as const);
  document.components = { ...document.components, responses: { 304: unchanged, ...Object.fromEntries(responses) } };
}

const isStream = (answer: object): boolean => JSON.stringify(answer).includes('"text/event-stream"');

const unchanged = { description: 'Still what If-None-Match names' };

const refusal = (status: number): object => ({
  description: STATUS_CODES[status] ?? 'Refused',
  ...([429, 503].includes(status) && {
    headers: { 'Retry-After': { description: 'Seconds', schema: { type: 'integer', minimum: 0 } } },
  }),
  content: { [problemType]: { schema: { $ref: '#/components/schemas/problem' } } },
});

/** The page loads only what is beside it. Its style attributes are set from a script that is ours to vouch for. */
const pageCsp = {
  'default-src': "'none'",
  'script-src': "'self'",
  'style-src': "'self' 'unsafe-inline'",
  'img-src': "'self' data:",
  'connect-src': "'self'",
  'base-uri': "'none'",
  'form-action': "'none'",
  'frame-ancestors': "'none'",
};

/** `/openapi.json`, `/openapi.yaml` and the page `/docs`. */
export function openApiRoutes(scope: FastifyInstance): void {
  const hidden = { schema: { hide: true } };
  scope.get('/openapi.json', hidden, async (_request, reply) => reply.type(jsonType).send(scope.swagger()));
  scope.get('/openapi.yaml', hidden, async (_request, reply) =>
    reply.type(openApiYaml).send(scope.swagger({ yaml: true })),
  );
  void scope.register(swaggerUi, {
    routePrefix: '/docs',
    // Of the scope; the page is served with and without a slash at its end.
    indexPrefix: '/api/v1',
    staticCSP: pageCsp,
    uiConfig: { layout: 'BaseLayout', docExpansion: 'list' },
  });
}
