/** What is left in an outbox when a process stops: readings alone, without the grants among them. */
import type { Outbox } from '../things/stores.js';

export const countReadings = async (outbox: Outbox): Promise<number> => {
  const items = await outbox.pending(Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
  return items.filter(({ kind }) => kind === 'reading').length;
};
