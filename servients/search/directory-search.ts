/**
 * Searches of a directory, each language in a thread of its own, which is started for the first search and ended when
 * nobody has searched for a while. A query that takes too much ends with its thread, and harms nobody else: the next one
 * gets a new thread, and whoever asked is kept out for a while.
 */
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { LimitError, MalformedError, UnavailableError } from '../../crypto/errors.js';
import { HttpRefusal } from '../bindings/http-problem.js';
import type { Directory } from '../../things/directory.js';
import { Serial } from '../../things/serial.js';
import { KnownQuads, SearchedCopy } from './searched-copy.js';
import { Penalties } from './penalties.js';
import { searchMaxima, type FromWorker, type Language, type ToWorker } from './messages.js';

export interface SearchLimits {
  /** For a query, and for each Thing that is read. */
  readonly timeMs: number;
  /** For a thread to load its libraries. */
  readonly startMs: number;
  /** Of JavaScript objects: the Things themselves, and what a query makes of them. */
  readonly heapMb: number;
  /** By how much the process may grow during a query; beside the heap, this bounds what WebAssembly takes. */
  readonly growthMb: number;
  /** What a search waits for the thread to have read all Things. */
  readonly prepareMs: number;
  readonly waiting: number;
  /** For which a caller whose query was cut off for the first time may not search. */
  readonly banMs: number;
  readonly idleMs: number;
}

export const searchDefaults: SearchLimits = {
  timeMs: 2_000,
  startMs: 30_000,
  heapMb: 512,
  growthMb: 768,
  prepareMs: 5_000,
  waiting: 32,
  banMs: 10_000,
  idleMs: 300_000,
};

export interface Search {
  readonly language: Language;
  readonly query: string;
  /** Of the Things that the caller may see; undefined for all. */
  readonly ids: readonly string[] | undefined;
  /** Who asks, for what it costs. */
  readonly caller: string;
}

export interface SearchResult {
  /** JSON text. */
  readonly body: string;
  /** RDF as JSON-LD, and not values. */
  readonly graph: boolean;
}

export class DirectorySearch {
  readonly #limits: SearchLimits;
  readonly #directory: Directory;
  readonly #threads = new Map<Language, SearchThread>();
  readonly #penalties: Penalties;

  constructor(directory: Directory, limits: SearchLimits = searchDefaults) {
    this.#directory = directory;
    this.#limits = limits;
    this.#penalties = new Penalties(limits.banMs);
  }

  /**
   * @throws MalformedError `query-malformed`, `query-too-costly`; LimitError `searches-waiting`; HttpRefusal
   * `query-unsupported`; UnavailableError `search-paused`, `search-preparing`
   */
  async search({ language, query, ids, caller }: Search): Promise<SearchResult> {
    if (query.length > searchMaxima.query) {
      throw new MalformedError('query-malformed', `a query has at most ${searchMaxima.query} characters`);
    }
    this.#penalties.assertNone(caller, Date.now());
    const thread = this.#threads.get(language) ?? new SearchThread(this.#directory, language, this.#limits);
    this.#threads.set(language, thread);
    try {
      return await thread.search(query, ids);
    } catch (error) {
      if (error instanceof MalformedError && error.code === 'query-too-costly') {
        this.#penalties.add(caller, Date.now());
      }
      throw error;
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#threads.values()].map((thread) => thread.end()));
  }
}

interface Running {
  readonly worker: Worker;
  readonly copy: SearchedCopy;
  readonly started: Promise<FromWorker>;
}

class SearchThread {
  readonly #directory: Directory;
  readonly #language: Language;
  readonly #limits: SearchLimits;
  readonly #steps = new Serial();
  readonly #quads = new KnownQuads();
  #waiting = 0;
  #running: Running | undefined;
  #preparing: Promise<void> | undefined;
  #idle: NodeJS.Timeout | undefined;

  constructor(directory: Directory, language: Language, limits: SearchLimits) {
    this.#directory = directory;
    this.#language = language;
    this.#limits = limits;
  }

  async search(query: string, ids: readonly string[] | undefined): Promise<SearchResult> {
    if (this.#waiting >= this.#limits.waiting) throw new LimitError('searches-waiting', 'too many searches wait');
    this.#waiting++;
    clearTimeout(this.#idle);
    try {
      return await this.#steps.run(() => this.#searchAlone(query, ids));
    } finally {
      this.#waiting--;
      this.#idle = setTimeout(() => void this.end(), this.#limits.idleMs).unref();
    }
  }

  async end(): Promise<void> {
    clearTimeout(this.#idle);
    const { worker } = this.#running ?? {};
    this.#running = undefined;
    await worker?.terminate();
  }

  async #searchAlone(query: string, ids: readonly string[] | undefined): Promise<SearchResult> {
    const { worker, copy, started } = (this.#running ??= this.#start());
    await this.#prepared(copy, started);
    const answer = await this.#ask(worker, { kind: 'query', query, ids });
    if (answer.kind === 'found') return answer;
    if (answer.kind === 'done') throw new Error('a query was answered with nothing');
    if (answer.code === 'query-unsupported') throw new HttpRefusal(501, answer.code, answer.message);
    throw new MalformedError(answer.code, answer.message);
  }

  /** Reading ten thousand Things as RDF takes a minute: it goes on while whoever asks is told to come back. */
  async #prepared(copy: SearchedCopy, started: Promise<FromWorker>): Promise<void> {
    this.#preparing ??= started
      .then(() => copy.update())
      .finally(() => {
        this.#preparing = undefined;
      });
    const late = new AbortController();
    const tooLate = sleep(this.#limits.prepareMs, undefined, { signal: late.signal, ref: false }).then(() => {
      throw new UnavailableError('search-preparing', 'the search is being prepared', undefined, 5);
    });
    tooLate.catch(() => undefined);
    try {
      await Promise.race([this.#preparing, tooLate]);
    } finally {
      late.abort();
    }
  }

  #start(): Running {
    // By the package's own name: the thread runs what was built, also when this module was not.
    const path = createRequire(import.meta.url).resolve('gridring/servients/search/worker');
    const worker = new Worker(path, {
      workerData: { language: this.#language },
      resourceLimits: { maxOldGenerationSizeMb: this.#limits.heapMb, stackSizeMb: 4 },
      env: {},
      execArgv: [],
    });
    // Whoever waits for an answer hears of it too.
    worker.on('error', () => undefined);
    worker.unref();
    const copy = new SearchedCopy(this.#directory, this.#quads, (message) => this.#ask(worker, message));
    const started = this.#ask(worker, { kind: 'start' }, this.#limits.startMs);
    started.catch(() => undefined);
    return { worker, copy, started };
  }

  /** @throws MalformedError `query-too-costly` when the thread has had to be ended */
  #ask(worker: Worker, message: ToWorker, timeMs = this.#limits.timeMs): Promise<FromWorker> {
    const { growthMb } = this.#limits;
    const rssLimit = process.memoryUsage.rss() + growthMb * 1_048_576;
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        clearTimeout(timer);
        clearInterval(watch);
        worker.off('message', onMessage).off('exit', onExit);
      };
      const onMessage = (answer: FromWorker): void => {
        settle();
        resolve(answer);
      };
      const onExit = (): void => {
        settle();
        if (this.#running?.worker === worker) this.#running = undefined;
        reject(new MalformedError('query-too-costly', 'the query took too much time or memory, and was ended'));
      };
      const cut = (): void => void worker.terminate();
      const timer = setTimeout(cut, timeMs);
      const watch = setInterval(() => {
        if (process.memoryUsage.rss() > rssLimit) cut();
      }, 50);
      worker.on('message', onMessage).on('exit', onExit);
      worker.postMessage(message);
    });
  }
}
