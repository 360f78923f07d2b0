/** GET /api/v1/errors: what each code of a problem document means, for people; a problem's `type` leads to its entry. */
import type { FastifyInstance } from 'fastify';
import { problemCodes } from './problem-codes.js';

const path = '/errors';

/** Of a problem with this code (RFC 9457 §3.1.1). */
export const problemType = (code: string): string =>
  Object.hasOwn(problemCodes, code) ? `/api/v1${path}#${code}` : 'about:blank';

export function errorRoutes(scope: FastifyInstance): void {
  const page = renderPage();
  scope.get(path, { schema: { hide: true } }, async (_request, reply) =>
    reply.type('text/html; charset=utf-8').header('content-security-policy', "default-src 'none'").send(page),
  );
}

function renderPage(): string {
  const entries = Object.entries(problemCodes).map(
    ([code, { statuses, meaning, remedy }]) =>
      `<h2 id="${code}"><code>${code}</code> (${statuses.join(', ')})</h2>\n<p>${asText(meaning)} ${asText(remedy)}</p>`,
  );
  return `<!doctype html>\n<html lang="en"><title>gridring: problems</title>\n<h1>Problems</h1>\n${entries.join('\n')}\n</html>\n`;
}

const asText = (text: string): string => text.replace(/&/g, '&amp;').replace(/</g, '&lt;');
