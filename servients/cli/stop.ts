/** When a process that runs until it is told otherwise should end. */

export interface StopRequest {
  /** By signal, or, once it has started, when the process that started this one with a channel is gone. */
  readonly asked: Promise<void>;
  readonly started: () => void;
  /** For what could not start: leaves the process as it was. */
  readonly withdraw: () => void;
}

export function stopRequested(): StopRequest {
  let stop: () => void = () => undefined;
  const asked = new Promise<void>((resolve) => (stop = resolve));
  const signals = ['SIGINT', 'SIGTERM'] as const;
  for (const signal of signals) process.once(signal, stop);
  return {
    asked,
    // Not before: who listens for the end of the channel is kept alive by it, and what cannot start would never end.
    started: () => {
      process.once('disconnect', stop);
      if ('connected' in process && !process.connected) stop();
    },
    withdraw: () => {
      for (const signal of signals) process.off(signal, stop);
    },
  };
}
