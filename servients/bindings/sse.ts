/**
 * Server-sent events (HTML Living Standard §9.2): replay by `Last-Event-ID` from a bounded ring, heartbeats, and
 * bounded memory for every reader, however slowly it reads.
 */
import { randomBytes } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { LimitError, UnavailableError } from '../../crypto/errors.js';

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

/** One sequence of events. Its ids begin with a random value, so that those of an earlier process are recognised. */
export class SseTopic {
  readonly readers = new Set<ServerResponse>();
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

  get latestId(): string {
    return `${this.#life}.${this.#latest}`;
  }

  publish(data: string): void {
    this.#latest++;
    const text = frame(this.latestId, data);
    this.#hold(text);
    for (const reader of this.readers) this.#send(reader, text);
  }

  /** Ends the streams of all readers. */
  end(): void {
    for (const reader of this.readers) reader.end();
  }

  /** All held events after the given id; preceded by an event `gap` when some are no longer there. */
  replay(lastEventId: string): string {
    const sequence = this.#sequenceOf(lastEventId);
    const firstHeld = this.#latest - this.#held.length + 1;
    if (sequence === undefined) return 'event: gap\ndata: {}\n\n' + this.#held.join('');
    if (sequence >= firstHeld - 1) return this.#held.slice(sequence - firstHeld + 1).join('');
    return `event: gap\ndata: {"missed":${firstHeld - 1 - sequence}}\n\n` + this.#held.join('');
  }

  #hold(text: string): void {
    const held = [...this.#held, text];
    this.#heldBytes += text.length;
    while (held.length > this.#limits.replayEvents || this.#heldBytes > this.#limits.replayBytes) {
      this.#heldBytes -= held.shift()?.length ?? 0;
    }
    this.#held = held;
  }

  #sequenceOf(id: string): number | undefined {
    const [life, digits] = id.split('.');
    if (life !== this.#life || digits === undefined || !/^\d{1,15}$/.test(digits)) return undefined;
    const sequence = Number(digits);
    return sequence <= this.#latest ? sequence : undefined;
  }
}

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

  topic(): SseTopic {
    return new SseTopic(this.#limits, (reader, text) => {
      this.#sendOrCut(reader, text);
    });
  }

  /**
   * Answers the request with the topic's stream: what a returning reader has missed, or for a new one the current
   * state where there is one, then everything that follows.
   * @throws LimitError `too-many-streams`; UnavailableError `stopping`
   */
  async serve(
    topic: SseTopic,
    request: FastifyRequest,
    reply: FastifyReply,
    currentState?: () => Promise<string>,
  ): Promise<void> {
    this.#admit(request.ip);
    const returning = request.headers['last-event-id'];
    // Taken before the state is read: whatever changes meanwhile is replayed after it.
    const since = typeof returning === 'string' ? returning : topic.latestId;
    const state = returning === undefined && currentState !== undefined ? await currentState() : undefined;
    this.#admit(request.ip);
    const response = this.#start(topic, request.ip, reply);
    const start = state === undefined ? `id: ${since}\n\n` : frame(since, state);
    const opening = (returning === undefined ? start : '') + topic.replay(since);
    this.#sendOrCut(response, `retry: ${this.#limits.retryMs}\n\n${opening}`);
  }

  /** Ends every stream and admits no more. */
  close(): void {
    this.#closed = true;
    clearInterval(this.#heartbeat);
    for (const response of this.#open.keys()) response.end();
  }

  #admit(address: string): void {
    if (this.#closed) throw new UnavailableError('stopping', 'this server is about to stop');
    const ofAddress = [...this.#open.values()].filter((other) => other === address).length;
    if (this.#open.size >= this.#limits.streams || ofAddress >= this.#limits.streamsPerAddress) {
      throw new LimitError('too-many-streams', 'too many event streams are open');
    }
  }

  #start(topic: SseTopic, address: string, reply: FastifyReply): ServerResponse {
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
    this.#open.set(response, address);
    topic.readers.add(response);
    this.#heartbeat ??= setInterval(() => {
      this.#beat();
    }, this.#limits.heartbeatMs).unref();
    return response;
  }

  #beat(): void {
    for (const response of this.#open.keys()) this.#sendOrCut(response, ':\n\n');
  }

  #sendOrCut(response: ServerResponse, text: string): void {
    if (response.destroyed || response.writableEnded) return;
    if (response.writableLength + text.length <= this.#limits.backlogBytes) {
      response.write(text);
      return;
    }
    response.destroy();
    this.#onCut();
  }
}

const frame = (id: string, data: string): string =>
  `id: ${id}\n${data
    .split(/\r\n|\r|\n/)
    .map((line) => `data: ${line}\n`)
    .join('')}\n`;
