/** When a process that runs until it is told otherwise should end. */

/** By signal, or when the process that started this one with a channel is gone. */
export function stopRequested(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'disconnect'] as const) {
      process.once(signal, () => {
        resolve();
      });
    }
    // Who listens for the end of the channel is kept alive by it: a role that cannot start would never end.
    process.channel?.unref();
  });
}
