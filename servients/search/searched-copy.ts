/** Keeps a searching thread's copy of the directory as new as the directory, from its events. */
import { UnavailableError } from '../../crypto/errors.js';
import type { Directory } from '../../things/directory.js';
import { DirectoryFollower } from '../../things/directory-follower.js';
import { enrich } from '../../things/directory-entry.js';
import type { DirectoryEntry } from '../../things/stores.js';
import type { FromWorker, SearchedThing, ToWorker } from './messages.js';

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
  readonly #tell: Tell;
  readonly #quads: KnownQuads;
  readonly #follower: DirectoryFollower;

  constructor(directory: Directory, quads: KnownQuads, tell: Tell) {
    this.#tell = tell;
    this.#quads = quads;
    this.#follower = new DirectoryFollower(directory, {
      put: (entry) => this.#put(entry),
      drop: (id) => this.#drop(id),
    });
  }

  /** Brings the copy up to the newest event. @throws what telling throws */
  async update(): Promise<void> {
    await this.#follower.update();
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
