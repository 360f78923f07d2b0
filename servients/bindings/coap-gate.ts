/**
 * The library's server behind a gate. Of `coap` 1.5.0 this keeps the message layer: acknowledgements, separate
 * responses, notifications, and the retransmission of both. Parsing, deduplication, block-wise transfer and limits are
 * ours, for the library runs a slow handler once per retransmission, keeps a 202-second timer for every response, holds
 * uploads without bound, and answers errors to the wrong address. What touches its private side on the server is in
 * this file alone; `test/servients/coap-library.test.ts` fails when that side changes.
 */
import type { AddressInfo } from 'node:net';
import { IncomingMessage, ObserveWriteStream, OutgoingMessage, Server, type CoapPacket } from 'coap';
import { UnavailableError } from '../../crypto/errors.js';
import { bareMessage, optionNumber, optionValue, parseMessage, type CoapMessage, type Reply } from './coap-message.js';
import { RateLimit, type RateLimits } from './rate-limit.js';
import { refusalReply } from './coap-refusal.js';

export interface CoapObserver {
  /** A request was refused; `code` as in the local log, more exact than what the peer learns. */
  refused(code: string): void;
  /** A datagram or a notification went no further. */
  dropped(reason: 'malformed' | 'rate' | 'duplicate' | 'undelivered' | 'observer-backlog'): void;
  /** A fault that is ours. The peer learns 5.00. */
  failed(error: unknown): void;
}

export interface GateLimits {
  readonly rate: RateLimits;
  /** How often a source is told that it was too fast: beyond a few times silence costs less, and tells a flood as much. */
  readonly slowDowns: RateLimits;
  /** Requests whose handlers run at the same time. */
  readonly running: number;
  /** Messages remembered for deduplication. */
  readonly exchanges: number;
  /** RFC 7252 §4.8.2: how long a message id means the same message. */
  readonly exchangeLifetimeMs: number;
}

export interface Remote {
  readonly address: string;
  readonly port: number;
}

/** A request and the way back to whoever sent it. */
export interface Exchange {
  readonly message: CoapMessage;
  readonly remote: Remote;
  reply(reply: Reply): void;
  /** Of a GET with Observe 0: the way back once it is accepted as a registration. */
  readonly notifications: Notifications | undefined;
}

/** What an observer is sent (RFC 7641). Every notification is confirmable; one at a time is the caller's duty. */
export interface Notifications {
  /** Says that the registration arrived, when its response is the first notification. */
  acknowledge(): void;
  /** Sends the response that confirms the registration. */
  confirm(reply: Reply): void;
  notify(reply: Reply): void;
  /** `acknowledged` for each notification; `ended` once, when the peer sent a Reset or stayed silent. */
  listen(acknowledged: () => void, ended: () => void): void;
}

/** A message that may come again, and what to send then; an empty ACK while there is nothing else. */
interface Seen {
  reply?: Buffer;
  readonly expiresMs: number;
}

/** What the library remembers of a datagram that it sent. */
type Sent = Buffer & { readonly response?: ObserveWriteStream };

export class CoapGate extends Server {
  readonly #limits: GateLimits;
  readonly #observer: CoapObserver;
  readonly #rate: RateLimit;
  readonly #slowDowns: RateLimit;
  readonly #seen = new Map<string, Seen>();
  readonly #running = new Set<OutgoingMessage>();
  readonly #messages = new WeakMap<CoapPacket, CoapMessage>();
  #closed = false;

  constructor(type: 'udp4' | 'udp6', limits: GateLimits, observer: CoapObserver, answer: (exchange: Exchange) => void) {
    super({ type, reuseAddr: false });
    this.#limits = limits;
    this.#observer = observer;
    this.#rate = new RateLimit(limits.rate);
    this.#slowDowns = new RateLimit(limits.slowDowns);
    this.on('request', (request: IncomingMessage, response: OutgoingMessage | ObserveWriteStream) => {
      this.#open(request, response, answer);
    });
  }

  /** Replaces the library's own parsing: it makes the listener for the socket's datagrams. */
  override handleRequest(): (datagram: Buffer, remote: AddressInfo) => void {
    return (datagram, remote) => {
      try {
        this.#receive(datagram, remote);
      } catch (error) {
        this.#observer.failed(error);
      }
    };
  }

  /** Ends every retransmission and timer; what handlers answer later goes nowhere. */
  override close(done?: (error?: Error) => void): this {
    this.#closed = true;
    for (const response of this.#running) clearTimeout(response._ackTimer ?? undefined);
    this.#running.clear();
    return super.close(done);
  }

  /** The port once it listens; -1 before and after. */
  get port(): number {
    const socket = this.#socket;
    return socket === undefined ? -1 : socket.address().port;
  }

  get #socket() {
    return this._sock !== null && 'address' in this._sock ? this._sock : undefined;
  }

  #receive(datagram: Buffer, remote: AddressInfo): void {
    const nowMs = Date.now();
    if (!this.#rate.take(remote.address, nowMs)) {
      this.#observer.dropped('rate');
      if (this.#slowDowns.take(remote.address, nowMs)) this.#refuseByRate(datagram, remote);
      return;
    }
    // Nothing can be sent to port 0, and trying throws.
    const message = remote.port === 0 ? undefined : parseMessage(datagram);
    if (message === undefined) this.#observer.dropped('malformed');
    else if (message.type === 'ack' || message.type === 'rst') this.#settled(message, remote);
    else if (message.code === '0.00') this.#pinged(message, remote);
    else if (message.code.startsWith('0.')) this.#requested(message, remote, nowMs);
    // Responses belong to a client, and this is none.
  }

  /** RFC 8516, in four bytes and the token; only to what may be a confirmable request. */
  #refuseByRate(datagram: Buffer, remote: AddressInfo): void {
    const tokenEnd = 4 + ((datagram[0] ?? 0) & 15);
    const confirmable = ((datagram[0] ?? 0) & 0xf0) === 0x40 && tokenEnd <= 12 && datagram.length >= tokenEnd;
    if (!confirmable || (datagram[1] ?? 0) >> 5 !== 0 || datagram[1] === 0 || remote.port === 0) return;
    this.#send(bareMessage('ack', '4.29', datagram.readUInt16BE(2), datagram.subarray(4, tokenEnd)), remote);
  }

  /** RFC 7252 §4.3: an empty confirmable message asks for a Reset. */
  #pinged(message: CoapMessage, remote: AddressInfo): void {
    if (message.type === 'con') this.#send(bareMessage('rst', '0.00', message.messageId), remote);
  }

  #requested(message: CoapMessage, remote: AddressInfo, nowMs: number): void {
    const key = messageKey(message, remote);
    const seen = this.#seen.get(key);
    if (seen !== undefined && seen.expiresMs > nowMs) {
      this.#observer.dropped('duplicate');
      if (seen.reply !== undefined) this.#send(seen.reply, remote);
      else if (message.type === 'con') this.#send(bareMessage('ack', '0.00', message.messageId), remote);
      return;
    }
    this.#remember(key, nowMs);
    const packet = libraryPacket(message);
    this.#messages.set(packet, message);
    this._handle(packet, remote);
  }

  #remember(key: string, nowMs: number): void {
    this.#seen.delete(key);
    this.#seen.set(key, { expiresMs: nowMs + this.#limits.exchangeLifetimeMs });
    // A Map keeps the order of insertion, and all live equally long: the first are the oldest.
    for (const [oldest, { expiresMs }] of this.#seen) {
      if (expiresMs > nowMs && this.#seen.size <= this.#limits.exchanges) break;
      this.#seen.delete(oldest);
    }
  }

  /** The peer has (ACK) or does not want (RST) what was sent under this message id. */
  #settled(message: CoapMessage, remote: AddressInfo): void {
    const packet = libraryPacket(message);
    const sent = this._lru.peek(this._toKey(new IncomingMessage(packet, remote), packet, false)) as Sent | undefined;
    this._handle(packet, remote);
    if (message.type === 'ack') sent?.response?.emit('acknowledged');
  }

  #open(
    request: IncomingMessage,
    response: OutgoingMessage | ObserveWriteStream,
    answer: (exchange: Exchange) => void,
  ): void {
    const message = this.#messages.get(request._packet);
    if (message === undefined) return;
    const remote = request.rsinfo;
    // A response that nobody acknowledges becomes an error of its stream, which ends the process unless it is heard.
    response.on('error', () => {
      this.#observer.dropped('undelivered');
    });
    const reply = (sent: Reply): void => {
      if (this.#closed) return;
      if (response instanceof ObserveWriteStream) transmit(response, sent);
      else respond(response, sent);
      this.#keepReply(request, message);
    };
    if (response instanceof ObserveWriteStream) {
      answer({ message, remote, reply, notifications: this.#notifications(request, message, response) });
    } else if (this.#running.size >= this.#limits.running) {
      reply(refusalReply(new UnavailableError('busy', 'too many requests are being worked on')));
    } else {
      this.#running.add(response);
      const release = (sent: Reply): void => {
        this.#running.delete(response);
        reply(sent);
      };
      answer({ message, remote, reply: release, notifications: undefined });
    }
  }

  /**
   * Takes a reply that went out under the request's own message id from the library, with the timers that it would
   * keep for 202 seconds. A separate response stays there until it is acknowledged.
   */
  #keepReply(request: IncomingMessage, message: CoapMessage): void {
    const key = this._toKey(request, request._packet, true);
    const sent = this._lru.peek(key) as Sent | undefined;
    const seen = this.#seen.get(messageKey(message, request.rsinfo));
    if (sent !== undefined && seen !== undefined) seen.reply = Buffer.from(sent);
    this._lru.delete(key);
    this._lru.delete(this._toKey(request, request._packet, false));
  }

  #notifications(request: IncomingMessage, message: CoapMessage, stream: ObserveWriteStream): Notifications {
    // RFC 7641 §4.4: numbers that go on rising when the same client registers again, so taken from the clock.
    stream._counter = Math.floor(Date.now() / 4) % 0xff_ff_ff;
    return {
      acknowledge: () => {
        if (message.type === 'con') this.#send(bareMessage('ack', '0.00', message.messageId), request.rsinfo);
      },
      confirm: (reply) => {
        if (this.#closed) return;
        prepare(stream, reply);
        stream.write(Buffer.from(reply.payload ?? []));
        this.#keepReply(request, message);
      },
      notify: (reply) => {
        if (this.#closed) return;
        prepare(stream, reply);
        stream._packet.confirmable = true;
        stream._packet.ack = false;
        delete stream._packet.messageId;
        stream.write(Buffer.from(reply.payload ?? []));
      },
      listen: (acknowledged, ended) => {
        stream.on('acknowledged', acknowledged);
        stream.once('finish', ended);
      },
    };
  }

  #send(datagram: Buffer, { address, port }: Remote): void {
    this.#socket?.send(datagram, port, address, (error) => {
      if (error !== null) this.#observer.dropped('undelivered');
    });
  }
}

const messageKey = ({ messageId, token }: CoapMessage, { address, port }: Remote): string =>
  `${address} ${port} ${messageId} ${token.toString('latin1')}`;

/**
 * What the library is told of a message: that it is a GET without options, whatever it is, so that the library's own
 * ideas of block-wise transfer, FETCH and Observe stay out; only a registration keeps its Observe option.
 */
function libraryPacket({ type, code, messageId, token, options }: CoapMessage): CoapPacket {
  const observe = code === '0.01' && optionValue(options, optionNumber.observe)?.every((byte) => byte === 0) === true;
  return {
    code: code === '0.00' ? code : '0.01',
    confirmable: type === 'con',
    ack: type === 'ack',
    reset: type === 'rst',
    messageId,
    token,
    options: observe ? [{ name: 'Observe', value: Buffer.alloc(0) }] : [],
    payload: Buffer.alloc(0),
  };
}

function respond(response: OutgoingMessage, { code, options = [], payload }: Reply): void {
  response.code = code;
  // Not by `setOption`, which keeps one of each.
  response._packet.options = options.map(([number, value]) => ({ name: String(number), value }));
  // The server's own `end` would cut payloads of 1,024 bytes into blocks by itself; its base class does not.
  OutgoingMessage.prototype.end.call(response, Buffer.from(payload ?? []));
}

/** A response without an Observe option: the registration was refused, or ignored. */
function transmit(stream: ObserveWriteStream, reply: Reply): void {
  prepare(stream, reply);
  stream._doSend(Buffer.from(reply.payload ?? []));
}

function prepare(stream: ObserveWriteStream, { code, options = [] }: Reply): void {
  stream.statusCode = code;
  stream._packet.options = options.map(([number, value]) => ({ name: String(number), value }));
}
