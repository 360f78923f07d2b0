/** The directory's notifications (WoT Discovery §7.3.2.2), from the events that are committed with what they tell of. */
import type { FastifyInstance } from 'fastify';
import { NotFoundError } from '../../crypto/errors.js';
import type { Directory } from '../../things/directory.js';
import { enrich } from '../../things/directory-entry.js';
import type { DirectoryEvent } from '../../things/stores.js';
import type { LogTopic, SseHub } from '../bindings/sse.js';
import type { RestContext } from './context.js';
import { accepted } from './directory-media.js';
import { directoryReaders } from './directory-readers.js';
import { operation, stream } from './operation.js';

const eventTypes = ['thing_created', 'thing_updated', 'thing_deleted'] as const;
type EventType = (typeof eventTypes)[number];

const typeOf = { created: 'thing_created', updated: 'thing_updated', deleted: 'thing_deleted' } as const;
const eventStreamType = 'text/event-stream';

/** What is given again to who comes back: less where each may be a whole TD. */
const replayed = { ids: 2_000, diffs: 100 } as const;

/** One topic for each type of event and all of them, with and without what has changed. */
export type DirectoryTopics = ReadonlyMap<string, LogTopic>;

const nameOf = (type: EventType | undefined, diff: boolean): string => `${type ?? ''}${diff ? '?diff' : ''}`;

export function directoryTopics(hub: SseHub, directory: Directory): DirectoryTopics {
  const topics = new Map<string, LogTopic>();
  for (const type of [undefined, ...eventTypes]) {
    for (const diff of [false, true]) {
      const after = async (position: number, limit: number) =>
        Promise.all(
          (await directory.eventsAfter(position, limit)).map(async (event) => ({
            position: event.position,
            event: typeOf[event.kind],
            data: type === undefined || type === typeOf[event.kind] ? await dataOf(directory, event, diff) : undefined,
          })),
        );
      const log = { life: directory.life, position: () => directory.position(), after };
      topics.set(nameOf(type, diff), hub.follow(log, { replayEvents: diff ? replayed.diffs : replayed.ids }));
    }
  }
  return topics;
}

/** Always with the id: a Partial TD, a merge patch of what has changed, or the whole of what was created. */
async function dataOf(directory: Directory, { kind, id, change }: DirectoryEvent, diff: boolean): Promise<string> {
  if (!diff || kind === 'deleted') return JSON.stringify({ id });
  if (kind === 'updated') return JSON.stringify({ ...(JSON.parse(change ?? '{}') as object), id });
  // It may be gone already, of which another event tells.
  const entry = await directory.entry(id).catch((error: unknown) => {
    if (error instanceof NotFoundError) return undefined;
    throw error;
  });
  return JSON.stringify(entry ? enrich(entry) : { id });
}

interface Subscription {
  readonly Params: { readonly type?: EventType };
  readonly Querystring: { readonly diff: boolean };
}

export function directoryEventRoutes(scope: FastifyInstance, context: RestContext): void {
  const { hub, directoryEvents, access } = context;
  const { onRequest, seenBy } = directoryReaders(context);
  for (const [path, params, id] of [
    ['/events', undefined, 'followThings'],
    ['/events/:type', { type: { type: 'string', enum: eventTypes } }, 'followThingsOfType'],
  ] as const) {
    const schema = operation({
      id,
      tag: 'Directory',
      summary: 'Things that are registered, changed and removed, as they are',
      description: 'With diff, what was registered or changed. Whoever comes back with Last-Event-ID misses nothing.',
      ...(params && { params }),
      query: { diff: { type: 'boolean', default: false } },
      gives: { 200: stream(eventStreamType, 'Server-sent events') },
      refuses: [406],
    });
    scope.get<Subscription>(path, { onRequest, schema }, async (request, reply) => {
      accepted(request, [eventStreamType]);
      if (request.method === 'HEAD') return reply.type(eventStreamType).send();
      const topic = directoryEvents.get(nameOf(request.params.type, request.query.diff));
      if (!topic) throw new NotFoundError('no-such-resource', 'there are no such events');
      const seen = seenBy(request);
      const sees = (data: string): boolean => seen?.includes((JSON.parse(data) as { readonly id: string }).id) ?? true;
      await hub.serve(topic, request, reply, { sees });
      if (access.callerOf(request)) access.holdStream(request, reply.raw);
      return reply;
    });
  }
}
