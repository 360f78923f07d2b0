/** The event streams of the backend, fed from the outbox in its database: any process of a deployment serves all of them. */
import { toBase64Url, toHex } from '../../crypto/bytes.js';
import type { CommandStore, KeptCommandReceipt } from '../../things/command-store.js';
import type { Directory } from '../../things/directory.js';
import type { BackendEvents } from '../../things/stores.js';
import type { LogTopic, SseHub } from '../bindings/sse.js';
import { directoryTopics, type DirectoryTopics } from './directory-events.js';
import { epochJson } from './epoch-json.js';
import { publishedJson } from './memberships.js';

interface EventTopics {
  readonly epochRecorded: LogTopic;
  readonly membershipPublished: LogTopic;
  readonly commandTaken: LogTopic;
  readonly commandReceipt: LogTopic;
}
export interface AllTopics extends EventTopics {
  readonly directoryEvents: DirectoryTopics;
}

/** Readers are told at once when the outbox wakes us, and at the latest after this time. */
const pollMs = 2_000;

/** @returns the topics, and what ends the looking for events */
export function eventTopics(
  hub: SseHub,
  events: BackendEvents,
  commands: CommandStore,
  directory: Directory,
  onError: (error: unknown) => void,
): { readonly topics: AllTopics; readonly end: () => void } {
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
    commandTaken: hub.follow({
      life: events.life,
      position: async () => (await commands.commandPositions()).commands,
      after: async (position, limit) =>
        (await commands.commandsAfter(position, limit)).map(({ position: at, gid, id }) => ({
          position: at,
          data: JSON.stringify({ gid: toHex(gid), id: toHex(id) }),
        })),
    }),
    commandReceipt: hub.follow({
      life: events.life,
      position: async () => (await commands.commandPositions()).receipts,
      after: async (position, limit) =>
        (await commands.commandReceiptsAfter(position, limit)).map((row) => ({
          position: row.position,
          data: JSON.stringify(commandReceiptJson(row)),
        })),
    }),
  };
  const directoryEvents = directoryTopics(hub, directory);
  const all = [...(Object.values(topics) as readonly LogTopic[]), ...directoryEvents.values()];
  const tell = (): void => {
    for (const topic of all) {
      if (topic.readers.size > 0) topic.tell().catch(onError);
    }
  };
  const asleep = events.onWake(tell);
  const poll = setInterval(tell, pollMs).unref();
  return {
    topics: { ...topics, directoryEvents },
    end: () => {
      asleep();
      clearInterval(poll);
    },
  };
}

/** As td/schemas/command-receipt.schema.json describes it. */
const commandReceiptJson = ({ gid, id, meter, message }: KeptCommandReceipt): object => ({
  gid: toHex(gid),
  id: toHex(id),
  meter: toHex(meter),
  message: toBase64Url(message),
});
