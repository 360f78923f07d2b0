/**
 * Everything of one kind in one answer, a line for each, as NDJSON or CSV: readings stay sealed, and of epochs there is
 * metadata alone. A broken export goes on after the last line that came.
 */
import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import { toHex } from '../../crypto/bytes.js';
import type { BackendStore } from '../../things/stores.js';
import { auditDone } from './audit-trail.js';
import type { RestContext } from './context.js';
import { epochJson } from './epoch-json.js';
import { entryJson } from './meters.js';
import { operation, stream } from './operation.js';

/** Read at once. */
const pageRows = 500;

/** A meter's certHash and a sequence: what the last line had. */
const readingAfter = { type: 'string', pattern: '^[0-9a-f]{64}\\.[0-9]{1,16}$' };

type Line = Readonly<Record<string, unknown>>;

interface Format {
  readonly name: string;
  readonly mediaType: string;
  readonly head: (first: Line) => string;
  readonly write: (line: Line) => string;
}

// No value of ours has a comma, a quote or a line break in it.
const formats: readonly Format[] = [
  {
    name: 'ndjson',
    mediaType: 'application/x-ndjson',
    head: () => '',
    write: (line: Line) => `${JSON.stringify(line)}\n`,
  },
  {
    name: 'csv',
    mediaType: 'text/csv',
    head: (line: Line) => `${Object.keys(line).join(',')}\r\n`,
    write: (line: Line) => `${Object.values(line).join(',')}\r\n`,
  },
];

export function exportRoutes(scope: FastifyInstance, context: RestContext): void {
  const { access, backend, store } = context;
  const onRequest = access.needs('export');
  for (const format of formats) {
    const { name, mediaType } = format;
    const ofReadings = operation({
      id: `exportReadings${name === 'csv' ? 'Csv' : ''}`,
      tag: 'Exports',
      summary: `The chains of all meters as ${name.toUpperCase()}, sealed`,
      description: 'Ascending by certHash and sequence: meter, kind, sequence, epoch, attempt, receivedAt, message.',
      query: { after: readingAfter },
      gives: { 200: stream(mediaType, 'A line for each entry') },
    });
    scope.get<{ Querystring: { after?: string } }>(
      `/exports/readings.${name}`,
      { onRequest, schema: ofReadings },
      async (request, reply) => {
        await auditDone(context, request, 'export.readings', request.query.after ?? 'all');
        return reply.type(mediaType).send(Readable.from(written(chainLines(store, request.query.after), format)));
      },
    );

    const ofEpochs = operation({
      id: `exportEpochs${name === 'csv' ? 'Csv' : ''}`,
      tag: 'Exports',
      summary: `The recorded epochs of all groups as ${name.toUpperCase()}`,
      description: 'By group, the newest first: metadata, with the same fields as an epoch in the list.',
      gives: { 200: stream(mediaType, 'A line for each epoch') },
    });
    scope.get(`/exports/epochs.${name}`, { onRequest, schema: ofEpochs }, async (request, reply) => {
      await auditDone(context, request, 'export.epochs', 'all');
      const gids = backend.memberships.map(({ list }) => list.gid);
      return reply.type(mediaType).send(Readable.from(written(epochLines(store, gids), format)));
    });
  }
}

async function* written(lines: AsyncIterable<Line>, { head, write }: Format): AsyncGenerator<string> {
  let isFirst = true;
  for await (const line of lines) {
    yield isFirst ? head(line) + write(line) : write(line);
    isFirst = false;
  }
}

async function* chainLines(store: BackendStore, after?: string): AsyncGenerator<Line> {
  const [from = '', sequence = '0'] = (after ?? '').split('.');
  for (const { meter } of await store.readingCounts()) {
    const key = toHex(meter);
    if (key < from) continue;
    let last = key === from ? Number(sequence) : 0;
    for (;;) {
      const rows = await store.entries(meter, last, pageRows);
      for (const row of rows) yield { meter: key, ...entryJson(row) };
      last = rows.at(-1)?.sequence ?? last;
      if (rows.length < pageRows) break;
    }
  }
}

async function* epochLines(store: BackendStore, gids: readonly Uint8Array[]): AsyncGenerator<Line> {
  for (const gid of gids) {
    let rows = await store.epochs(gid, pageRows);
    while (rows.length > 0) {
      for (const row of rows) yield epochJson(row) as Line;
      rows = await store.epochs(gid, pageRows, rows.at(-1));
    }
  }
}
