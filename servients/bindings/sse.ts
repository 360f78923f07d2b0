/**
 * Server-sent events (HTML Living Standard §9.2): replay by `Last-Event-ID` from a bounded ring, heartbeats, and
 * bounded memory for every reader, however slowly it reads.
 */
import { randomBytes } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { LimitError, UnavailableError } from '../../crypto/errors.js';
import { Serial } from '../../things/serial.js';
import { sourceOf } from './rate-limit.js';

export interface SseLimits {
  /** What a topic keeps for those who come back. */
  readonly replayEvents: number;
  readonly replayBytes: number;
  /** What may wait in memory for one slow reader before it is cut off; above `replayBytes`. */
  readonly backlogBytes: number;
  readonly heartbeatMs: number;
  /** What readers are told to wait before they come back. */
  readonly retryMs: number;
  readonly streams: number;
  readonly streamsPerAddress: number;
}

export const sseDefaults: SseLimits = {
  replayEvents: 256,
  replayBytes: 256_000,
  backlogBytes: 1_000_000,
  heartbeatMs: 15_000,
  retryMs: 2_000,
  streams: 512,
  streamsPerAddress: 64,
};

type Send = (reader: ServerResponse, text: string) => void;

/** Whether a reader is told of an event, by its data. */
type Sees = (data: string) => boolean;
const seesAll: Sees = () => true;

/** One sequence of events, whose ids are `<life>.<position>`: those of another life are recognised. */
export interface SseTopic {
  readonly readers: Map<ServerResponse, Sees>;
  latestId(): Promise<string>;
  /**
   * Gives `join` the frames after the given id, preceded by an event `gap` when some are no longer there. Whoever is a
   * reader when `join` returns gets all that follows.
   */
  catchUp(lastEventId: string, join: (frames: string) => void, sees: Sees): Promise<void>;
}

/** The events of one process, which are gone with it. */
export class MemoryTopic implements SseTopic {
  readonly readers = new Map<ServerResponse, Sees>();
  readonly #limits: SseLimits;
  readonly #send: Send;
  readonly #life = randomBytes(6).toString('base64url');
  #latest = 0;
  #held: readonly string[] = [];
  #heldBytes = 0;

  constructor(limits: SseLimits, send: Send) {
    this.#limits = limits;
    this.#send = send;
  }

  async latestId(): Promise<string> {
    return `${this.#life}.${this.#latest}`;
  }

  async catchUp(lastEventId: string, join: (frames: string) => void): Promise<void> {
    join(this.#replay(lastEventId));
  }

  publish(data: string): void {
    this.#latest++;
    const text = frame(`${this.#life}.${this.#latest}`, data);
    this.#hold(text);
    for (const reader of this.readers.keys()) this.#send(reader, text);
  }

  /** Ends the streams of all readers. */
  end(): void {
    for (const reader of this.readers.keys()) reader.end();
  }

  #replay(lastEventId: string): string {
    const position = positionOf(lastEventId, this.#life, this.#latest);
    const firstHeld = this.#latest - this.#held.length + 1;
    if (position === undefined) return gap() + this.#held.join('');
    if (position >= firstHeld - 1) return this.#held.slice(position - firstHeld + 1).join('');
    return gap(firstHeld - 1 - position) + this.#held.join('');
  }

  #hold(text: string): void {
    const held = [...this.#held, text];
    this.#heldBytes += text.length;
    while (held.length > this.#limits.replayEvents || this.#heldBytes > this.#limits.replayBytes) {
      this.#heldBytes -= held.shift()?.length ?? 0;
    }
    this.#held = held;
  }
}

/** Where the events of a `LogTopic` are kept. */
export interface EventLog {
  readonly life: string;
  /** Of the newest event; 0 for none. */
  position(): Promise<number>;
  /** Ascending. */
  after(position: number, limit: number): Promise<readonly LogEvent[]>;
}

interface LogEvent {
  readonly position: number;
  /** Its type, where it has one. */
  readonly event?: string;
  /** Undefined: the topic does not tell of it. */
  readonly data: string | undefined;
}

/** The events of a log that other processes write to and read from as well: a reader resumes at any of them. */
export class LogTopic implements SseTopic {
  readonly readers = new Map<ServerResponse, Sees>();
  readonly #limits: SseLimits;
  readonly #log: EventLog;
  readonly #send: Send;
  readonly #steps = new Serial();
  /** All readers have been sent the events up to this one. */
  #sent = 0;

  constructor(limits: SseLimits, log: EventLog, send: Send) {
    this.#limits = limits;
    this.#log = log;
    this.#send = send;
  }

  async latestId(): Promise<string> {
    return this.#id(await this.#log.position());
  }

  /** Sends the readers what is new in the log. */
  tell(): Promise<void> {
    return this.#steps.run(() => this.#tellReaders());
  }

  catchUp(lastEventId: string, join: (frames: string) => void, sees: Sees): Promise<void> {
    return this.#steps.run(async () => {
      await this.#tellReaders();
      const [sent, { replayEvents }] = [this.#sent, this.#limits];
      const position = positionOf(lastEventId, this.#log.life, sent);
      const from = Math.max(position ?? 0, sent - replayEvents);
      const events = (await this.#log.after(from, replayEvents)).filter((event) => event.position <= sent);
      const missed = (events[0]?.position ?? sent + 1) - 1 - (position ?? 0);
      const lead = position === undefined ? gap() : missed > 0 ? gap(missed) : '';
      const seen = events.filter(({ data }) => data !== undefined && sees(data));
      join(lead + seen.map((event) => this.#frame(event)).join(''));
    });
  }

  async #tellReaders(): Promise<void> {
    if (this.readers.size === 0) {
      this.#sent = await this.#log.position();
      return;
    }
    for (;;) {
      const events = await this.#log.after(this.#sent, this.#limits.replayEvents);
      for (const event of events) {
        const text = this.#frame(event);
        for (const [reader, sees] of this.readers) {
          if (event.data !== undefined && sees(event.data)) this.#send(reader, text);
        }
        this.#sent = event.position;
      }
      if (events.length < this.#limits.replayEvents) return;
    }
  }

  #id(position: number): string {
    return `${this.#log.life}.${position}`;
  }

  #frame({ position, event, data = '' }: LogEvent): string {
    return frame(this.#id(position), data, event);
  }
}

/** Undefined for an id of another life, or that was never given. */
function positionOf(id: string, life: string, latest: number): number | undefined {
  const [ofLife, digits] = id.split('.');
  if (ofLife !== life || digits === undefined || !/^\d{1,15}$/.test(digits)) return undefined;
  const position = Number(digits);
  return position <= latest ? position : undefined;
}

const gap = (missed?: number): string => `event: gap\ndata: ${JSON.stringify({ missed })}\n\n`;

/** The open streams of one server: admission, heartbeats, and the end of all of them. */
export class SseHub {
  readonly #limits: SseLimits;
  readonly #open = new Map<ServerResponse, string>();
  #heartbeat: NodeJS.Timeout | undefined;
  #closed = false;

  readonly #onCut: () => void;

  /** `onCut`: a reader was cut off because it did not read. */
  constructor(limits: SseLimits = sseDefaults, onCut: () => void = () => undefined) {
    this.#limits = limits;
    this.#onCut = onCut;
  }

  get openStreams(): number {
    return this.#open.size;
  }

  topic(): MemoryTopic {
    return new MemoryTopic(this.#limits, this.#sendOrCut);
  }

  follow(log: EventLog, limits: Partial<SseLimits> = {}): LogTopic {
    return new LogTopic({ ...this.#limits, ...limits }, log, this.#sendOrCut);
  }

  /**
   * Answers the request with the topic's stream: what a returning reader has missed, or for a new one the current
   * state where there is one, then everything that follows and that the reader sees.
   * @throws LimitError `too-many-streams`; UnavailableError `stopping`
   */
  async serve(
    topic: SseTopic,
    request: FastifyRequest,
    reply: FastifyReply,
    { currentState, sees = seesAll }: { readonly currentState?: () => Promise<string>; readonly sees?: Sees } = {},
  ): Promise<void> {
    this.#admit(request.ip);
    const returning = request.headers['last-event-id'];
    // Taken before the state is read: whatever changes meanwhile is replayed after it.
    const since = typeof returning === 'string' ? returning : await topic.latestId();
    const state = returning === undefined && currentState !== undefined ? await currentState() : undefined;
    const start = state === undefined ? `id: ${since}\n\n` : frame(since, state);
    const join = (frames: string): void => {
      this.#admit(request.ip);
      const response = this.#start(topic, sees, request.ip, reply);
      const opening = (returning === undefined ? start : '') + frames;
      this.#sendOrCut(response, `retry: ${this.#limits.retryMs}\n\n${opening}`);
    };
    await topic.catchUp(since, join, sees);
  }

  /** Ends every stream and admits no more. */
  close(): void {
    this.#closed = true;
    clearInterval(this.#heartbeat);
    for (const response of this.#open.keys()) response.end();
  }

  #admit(address: string): void {
    if (this.#closed) throw new UnavailableError('stopping', 'this server is about to stop');
    const source = sourceOf(address);
    const ofAddress = [...this.#open.values()].filter((other) => other === source).length;
    if (this.#open.size >= this.#limits.streams || ofAddress >= this.#limits.streamsPerAddress) {
      throw new LimitError('too-many-streams', 'too many event streams are open');
    }
  }

  #start(topic: SseTopic, sees: Sees, address: string, reply: FastifyReply): ServerResponse {
    reply.hijack();
    const response = reply.raw;
    response.on('error', () => response.destroy());
    response.once('close', () => {
      topic.readers.delete(response);
      this.#open.delete(response);
    });
    for (const [name, value] of Object.entries(reply.getHeaders())) {
      if (value !== undefined) response.setHeader(name, value);
    }
    response.writeHead(200, {
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
      connection: 'close',
      'x-accel-buffering': 'no',
    });
    this.#open.set(response, sourceOf(address));
    topic.readers.set(response, sees);
    this.#heartbeat ??= setInterval(() => {
      this.#beat();
    }, this.#limits.heartbeatMs).unref();
    return response;
  }

  #beat(): void {
    for (const response of this.#open.keys()) this.#sendOrCut(response, ':\n\n');
  }

  readonly #sendOrCut: Send = (response, text) => {
    if (response.destroyed || response.writableEnded) return;
    if (response.writableLength + text.length <= this.#limits.backlogBytes) {
      response.write(text);
      return;
    }
    response.destroy();
    this.#onCut();
  };
}

const frame = (id: string, data: string, event?: string): string =>
  `${event === undefined ? '' : `event: ${event}\n`}id: ${id}\n${data
    .split(/\r\n|\r|\n/)
    .map((line) => `data: ${line}\n`)
    .join('')}\n`;
