/** Keeps a searching thread's copy of the directory as new as the directory, from its events. */
import { UnavailableError } from '../../crypto/errors.js';
import type { Directory } from '../../things/directory.js';
import { enrich } from '../../things/directory-entry.js';
import type { DirectoryEntry } from '../../things/stores.js';
import type { FromWorker, SearchedThing, ToWorker } from './messages.js';

const page = 500;

type Tell = (message: ToWorker) => Promise<FromWorker>;

/** What SPARQL made of a TD: it takes milliseconds, and is not done again when a thread was ended. */
export class KnownQuads {
  readonly #quads = new Map<string, { readonly revision: number; readonly quads: string }>();

  of({ id, revision }: DirectoryEntry): string | undefined {
    const known = this.#quads.get(id);
    return known?.revision === revision ? known.quads : undefined;
  }

  keep({ id, revision }: DirectoryEntry, quads: string): void {
    this.#quads.set(id, { revision, quads });
  }

  forget(id: string): void {
    this.#quads.delete(id);
  }
}

export class SearchedCopy {
  readonly #directory: Directory;
  readonly #tell: Tell;
  readonly #quads: KnownQuads;
  /** Of the last event that the copy knows; undefined where there is no copy yet. */
  #position: number | undefined;

  constructor(directory: Directory, quads: KnownQuads, tell: Tell) {
    this.#directory = directory;
    this.#quads = quads;
    this.#tell = tell;
  }

  /** Brings the copy up to the newest event. @throws what telling throws */
  async update(): Promise<void> {
    await this.#directory.purge();
    const newest = await this.#directory.position();
    if (this.#position === undefined) await this.#putAll();
    else if (this.#position < newest) await this.#follow(this.#position, newest);
    this.#position = newest;
  }

  async #putAll(): Promise<void> {
    for (let offset = 0; ; offset += page) {
      const { entries } = await this.#directory.list(offset, page);
      for (const entry of entries) await this.#put(entry);
      if (entries.length < page) return;
    }
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

  async #drop(id: string): Promise<void> {
    this.#quads.forget(id);
    await this.#tell({ kind: 'drop', id });
  }

  async #put(entry: DirectoryEntry): Promise<void> {
    const thing: SearchedThing = { id: entry.id, td: JSON.stringify(enrich(entry)), quads: this.#quads.of(entry) };
    try {
      const answer = await this.#tell({ kind: 'put', thing });
      if (answer.kind === 'failed') this.#quads.keep(entry, '');
      if (answer.kind === 'done' && answer.quads !== undefined) this.#quads.keep(entry, answer.quads);
    } catch (cause) {
      // One that takes too much is left out from now on: it must not keep all others from being searched.
      this.#quads.keep(entry, '');
      throw new UnavailableError('search-preparing', 'the search is being prepared', cause, 1);
    }
  }
}
