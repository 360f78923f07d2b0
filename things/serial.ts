/** One step at a time: load, step and save of one never interleave with another's. */
export class Serial {
  #last: Promise<unknown> = Promise.resolve();

  /** Runs the task when all before it have ended, however they ended. */
  run<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#last.then(task);
    this.#last = result.catch(() => undefined);
    return result;
  }
}
