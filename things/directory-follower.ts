/** Keeps a copy of the directory's entries as new as the directory, from its events. */
import type { Directory } from './directory.js';
import type { DirectoryEntry } from './stores.js';

/** What is made of the entries. */
export interface EntriesCopy {
  put(entry: DirectoryEntry): Promise<void>;
  drop(id: string): Promise<void>;
}

const page = 500;

export class DirectoryFollower {
  readonly #directory: Directory;
  readonly #copy: EntriesCopy;
  /** What the copy holds. */
  readonly #ids = new Set<string>();
  /** Of the last event that the copy knows; undefined where there is no copy yet. */
  #position: number | undefined;

  constructor(directory: Directory, copy: EntriesCopy) {
    this.#directory = directory;
    this.#copy = copy;
  }

  /** Brings the copy up to the newest event; not to be called again before it is done. @throws what the copy throws */
  async update(): Promise<void> {
    await this.#directory.purge();
    const newest = await this.#directory.position();
    if (this.#position === undefined) await this.#putAll();
    else if (this.#position < newest) await this.#follow(this.#position, newest);
    this.#position = newest;
  }

  async #putAll(): Promise<void> {
    const gone = new Set(this.#ids);
    for (let offset = 0; ; offset += page) {
      const { entries } = await this.#directory.list(offset, page);
      for (const entry of entries) {
        gone.delete(entry.id);
        await this.#put(entry);
      }
      if (entries.length < page) break;
    }
    for (const id of gone) await this.#drop(id);
  }

  async #follow(from: number, newest: number): Promise<void> {
    const changed = new Set<string>();
    for (let position = from; position < newest;) {
      const events = await this.#directory.eventsAfter(position, page);
      // Some are forgotten: nobody knows what they told of.
      if (events[0]?.position !== position + 1) return this.#putAll();
      for (const { id } of events) changed.add(id);
      position = events.at(-1)?.position ?? newest;
    }
    const ids = [...changed];
    for (let i = 0; i < ids.length; i += page) {
      const some = ids.slice(i, i + page);
      const { entries } = await this.#directory.list(0, page, some);
      const present = new Set(entries.map(({ id }) => id));
      for (const id of some) if (!present.has(id)) await this.#drop(id);
      for (const entry of entries) await this.#put(entry);
    }
  }

  async #put(entry: DirectoryEntry): Promise<void> {
    this.#ids.add(entry.id);
    await this.#copy.put(entry);
  }

  async #drop(id: string): Promise<void> {
    this.#ids.delete(id);
    await this.#copy.drop(id);
  }
}
