/** A servient's end. */
import type { Servient } from '@node-wot/core';

/** Ends also one that did not start whole: core refuses to shut that down, and the servers that did start would go on. */
export async function stopServient(servient: Servient): Promise<void> {
  try {
    await servient.shutdown();
  } catch {
    await Promise.allSettled(servient.getServers().map((server) => server.stop()));
  }
}
