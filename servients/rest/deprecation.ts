/**
 * What is to go says so in every answer: `Deprecation` (RFC 9745) since when, `Sunset` (RFC 8594) when at the earliest, and by
 * a link where to read more or what to use instead. An operation names these (operation.ts); docs/api.md has the policy.
 */
import type { FastifyInstance } from 'fastify';

export interface Deprecation {
  /** Since when, ISO 8601. */
  readonly since: string;
  /** When it goes at the earliest, ISO 8601; at least a year later. */
  readonly sunset: string;
  /** What is there in its place: a path, or the address of a page. */
  readonly instead: string;
}

const yearMs = 365 * 86_400_000;

/** Sets the headers of the operations that name a deprecation. @throws Error at the start, where one goes too soon */
export function addDeprecations(scope: FastifyInstance): void {
  const headersOf = new Map<string, Readonly<Record<string, string>>>();
  scope.addHook('onRoute', ({ method, url, schema }) => {
    const { 'x-deprecation': deprecation } = (schema ?? {}) as { readonly 'x-deprecation'?: Deprecation };
    if (!deprecation) return;
    for (const each of [method].flat()) headersOf.set(`${each} ${url}`, deprecationHeaders(deprecation));
  });
  scope.addHook('onRequest', async ({ method, routeOptions: { url = '' } }, reply) => {
    reply.headers(headersOf.get(`${method} ${url}`) ?? {});
  });
}

function deprecationHeaders({ since, sunset, instead }: Deprecation): Readonly<Record<string, string>> {
  const [from, until] = [new Date(since), new Date(sunset)];
  if (!(until.getTime() - from.getTime() >= yearMs)) throw new Error(`${since} to ${sunset} is less than a year`);
  return {
    deprecation: `@${String(from.getTime() / 1_000)}`,
    sunset: until.toUTCString(),
    link: `<${instead}>; rel="successor-version"`,
  };
}
