/**
 * Things by way of a directory, for programs that go on for long: each is looked up and verified when it is first asked
 * for, consumed once, and again when the directory tells that it has changed. While the directory is away, what was known
 * is given, with how old it is.
 */
import { isDeepStrictEqual } from 'node:util';
import { GridringError, UnavailableError } from '../crypto/errors.js';
import { discoveryContext } from '../crypto/registration.js';
import type { ReadEvent } from './bindings/event-stream.js';
import { DirectoryClient, type DirectoryClientOptions } from './directory-client.js';
import { backoffMs, sleep } from './runtime.js';

type ThingDescription = WoT.ThingDescription;

export interface DiscoveryOptions extends Omit<DirectoryClientOptions, 'url'> {
  /** Base URL of the directory's host, without a slash at its end. */
  readonly directory: string;
  /** Consumes; e.g. what `await servient.start()` gives. */
  readonly wot: Pick<typeof WoT, 'consume'>;
  /** What a Thing has said of itself: given where the directory says something else, or nothing. */
  readonly own?: (id: string) => ThingDescription | undefined;
  /** Hears of each Thing that was registered, changed or removed. */
  readonly onChange?: (id: string) => void;
  /** Hears why the directory is not listened to now, or why its word on a Thing, which is named, does not count. */
  readonly onTrouble?: (error: unknown, id?: string) => void;
  /** Default: the system's. */
  readonly nowMs?: () => number;
}

/** Asked again after this where the directory does not tell of changes. */
const freshMs = 60_000;
const pauseMs = 500;

interface Known {
  readonly td: ThingDescription;
  /** When the directory, or the Thing itself, gave it. */
  confirmedMs: number;
  /** That no change was told since. */
  current: boolean;
  thing?: Promise<WoT.ConsumedThing>;
}

type Confirmed = Pick<Known, 'confirmedMs' | 'current'>;

/** Finds Things in a directory and listens to its notifications, from now until it is closed. */
export const discover = (options: DiscoveryOptions): Discovery => new Discovery(options);

export class Discovery {
  readonly #options: DiscoveryOptions;
  readonly #directory: DirectoryClient;
  readonly #nowMs: () => number;
  readonly #ending = new AbortController();
  readonly #known = new Map<string, Known>();
  readonly #asked = new Map<string, Promise<Known>>();
  #list: (Confirmed & { readonly ids: readonly string[] }) | undefined;
  /** Whether the directory is listened to, and until when it was. */
  #listens = false;
  #heardMs = 0;
  /** Another one with every change: what was asked for before it may be old when it comes. */
  #turn = 0;

  constructor(options: DiscoveryOptions) {
    this.#options = options;
    this.#directory = new DirectoryClient({ ...options, url: options.directory });
    this.#nowMs = options.nowMs ?? Date.now;
    void this.#listen(this.#ending.signal);
  }

  /**
   * The Thing, consumed: the same object until its description is another.
   * @throws as `DirectoryClient.thing`; UnavailableError only where nothing is known of it
   */
  async thing(id: string): Promise<WoT.ConsumedThing> {
    const known = await this.#lookUp(id);
    known.thing ??= this.#options.wot.consume(known.td).catch((error: unknown) => {
      delete known.thing;
      throw error;
    });
    return known.thing;
  }

  /** The description of a Thing. @throws as `thing` */
  async describe(id: string): Promise<ThingDescription> {
    return (await this.#lookUp(id)).td;
  }

  /** All descriptions that match. @throws as `DirectoryClient.things`; UnavailableError only before there was a list */
  async find(matches: (td: ThingDescription) => boolean): Promise<readonly ThingDescription[]> {
    const list = this.#list && this.#isFresh(this.#list) ? this.#list : await this.#readList();
    return list.ids.flatMap((id) => this.#known.get(id)?.td ?? []).filter(matches);
  }

  /** For how long what is known of a Thing has not been confirmed, ms: 0 while the directory would tell of a change. */
  ageMs(id: string): number | undefined {
    const known = this.#known.get(id);
    if (!known) return undefined;
    if (known.current && this.#listens) return 0;
    return this.#nowMs() - (known.current ? Math.max(known.confirmedMs, this.#heardMs) : known.confirmedMs);
  }

  /** It did not answer where it was said to be: the next call asks the directory again. */
  forget(id: string): void {
    const known = this.#known.get(id);
    if (known) Object.assign(known, { confirmedMs: 0, current: false });
  }

  /** Ends the notifications. Things that were consumed go on. */
  close(): void {
    this.#ending.abort();
  }

  #isFresh({ current, confirmedMs }: Confirmed): boolean {
    return this.#listens ? current : this.#nowMs() - confirmedMs < freshMs;
  }

  /** One question at a time for each Thing. */
  #lookUp(id: string): Promise<Known> {
    const known = this.#known.get(id);
    if (known && this.#isFresh(known)) return Promise.resolve(known);
    const asked = this.#asked.get(id) ?? this.#ask(id, known).finally(() => this.#asked.delete(id));
    this.#asked.set(id, asked);
    return asked;
  }

  async #ask(id: string, known: Known | undefined): Promise<Known> {
    const turn = this.#turn;
    const own = this.#options.own?.(id);
    try {
      const td = await this.#directory.thing(id);
      if (!own || isSame(own, td)) return this.#learn(id, td, turn);
      this.#options.onTrouble?.(new UnavailableError('td-differs', 'the Thing itself has said something else'), id);
    } catch (error) {
      if (known && !own && error instanceof UnavailableError) return known;
      this.#known.delete(id);
      if (!own || !(error instanceof GridringError)) throw error;
      this.#options.onTrouble?.(error, id);
    }
    return this.#learn(id, own, turn);
  }

  async #readList(): Promise<{ readonly ids: readonly string[] }> {
    const turn = this.#turn;
    try {
      const tds = await this.#directory.things();
      const ids = tds.flatMap(({ id }) => id ?? []);
      for (const td of tds) this.#learn(td.id ?? '', td, turn);
      this.#list = { ids, confirmedMs: this.#nowMs(), current: turn === this.#turn };
      return this.#list;
    } catch (error) {
      if (this.#list && error instanceof UnavailableError) return this.#list;
      throw error;
    }
  }

  #learn(id: string, td: ThingDescription, turn: number): Known {
    const before = this.#known.get(id);
    const known: Known = before && isSame(before.td, td) ? before : { td, confirmedMs: 0, current: false };
    this.#known.set(id, Object.assign(known, { confirmedMs: this.#nowMs(), current: turn === this.#turn }));
    return known;
  }

  /** One Thing has changed, or nobody knows which. */
  #changed(id?: string): void {
    this.#turn++;
    if (this.#list) this.#list.current = false;
    for (const known of id === undefined ? this.#known.values() : [this.#known.get(id)]) {
      if (known) known.current = false;
    }
    if (id !== undefined) this.#options.onChange?.(id);
  }

  async #listen(signal: AbortSignal): Promise<void> {
    let lastEventId = '';
    for (let failures = 0; !signal.aborted;) {
      let trouble: unknown;
      try {
        const events = await this.#directory.events(signal, lastEventId);
        if (lastEventId === '') this.#changed();
        [this.#listens, failures] = [true, 0];
        for await (const told of this.#heard(events)) lastEventId = told.id;
      } catch (error) {
        trouble = error;
      }
      if (!this.#ending.signal.aborted) this.#options.onTrouble?.(trouble);
      await sleep(pauseMs + backoffMs(failures++, trouble), signal);
    }
  }

  async *#heard(events: AsyncIterable<ReadEvent>): AsyncGenerator<ReadEvent> {
    try {
      for await (const told of events) {
        if (told.event === 'gap') this.#changed();
        else if (told.event.startsWith('thing_')) this.#changed(idIn(told.data));
        yield told;
      }
    } finally {
      [this.#listens, this.#heardMs] = [false, this.#nowMs()];
    }
  }
}

type Members = Readonly<Record<string, unknown>>;

/** But for what a directory adds (WoT Discovery §7.3.1). */
const isSame = (one: object, other: object): boolean => isDeepStrictEqual(plain({ ...one }), plain({ ...other }));

const plain = ({ registration: _, '@context': context, ...rest }: Members): Members => ({
  ...rest,
  '@context': [context].flat().filter((entry) => entry !== discoveryContext),
});

/** Of an event of the directory. */
function idIn(data: string): string | undefined {
  try {
    const { id } = JSON.parse(data) as { readonly id?: unknown };
    return typeof id === 'string' ? id : undefined;
  } catch {
    return undefined;
  }
}
