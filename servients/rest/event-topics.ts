/** The event streams of the backend, fed from the outbox in its database: any process of a deployment serves all of them. */
import type { BackendEvents } from '../../things/stores.js';
import type { LogTopic, SseHub } from '../bindings/sse.js';
import { epochJson } from './epoch-json.js';
import { publishedJson } from './memberships.js';

export interface EventTopics {
  readonly epochRecorded: LogTopic;
  readonly membershipPublished: LogTopic;
}

/** Readers are told at once when the outbox wakes us, and at the latest after this time. */
const pollMs = 2_000;

/** @returns the topics, and what ends the looking for events */
export function eventTopics(
  hub: SseHub,
  events: BackendEvents,
  onError: (error: unknown) => void,
): { readonly topics: EventTopics; readonly end: () => void } {
  const topics: EventTopics = {
    epochRecorded: hub.follow({
      life: events.life,
      position: async () => (await events.positions()).epochs,
      after: async (position, limit) =>
        (await events.epochsAfter(position, limit)).map((row) => ({
          position: row.position,
          data: JSON.stringify(epochJson(row)),
        })),
    }),
    membershipPublished: hub.follow({
      life: events.life,
      position: async () => (await events.positions()).lists,
      after: async (position, limit) =>
        (await events.listsAfter(position, limit)).map((row) => ({
          position: row.position,
          data: JSON.stringify(publishedJson(row)),
        })),
    }),
  };
  const tell = (): void => {
    for (const topic of [topics.epochRecorded, topics.membershipPublished]) {
      if (topic.readers.size > 0) topic.tell().catch(onError);
    }
  };
  const asleep = events.onWake(tell);
  const poll = setInterval(tell, pollMs).unref();
  return {
    topics,
    end: () => {
      asleep();
      clearInterval(poll);
    },
  };
}
