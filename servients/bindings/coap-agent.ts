/**
 * The library's client behind a guard. Of `coap` 1.5.0 this keeps the message layer: message ids, tokens and
 * retransmission. Block-wise transfer, observation and deadlines are ours, for the library throws on block options that
 * a peer malformed (which ends the process), joins blocks without looking at their numbers or sum, takes 247 seconds to
 * give up, and believes responses from anywhere. What touches its private side on the client is in this file alone;
 * `test/servients/coap-library.test.ts` fails when that side changes.
 */
import type { Socket } from 'node:dgram';
import type { AddressInfo } from 'node:net';
import { Agent, type CoapPacket, type IncomingMessage, type OutgoingMessage } from 'coap';
import { UnavailableError } from '../../crypto/errors.js';
import type { Remote } from './coap-gate.js';
import { bareMessage, optionNumber, type CoapOption } from './coap-message.js';

export interface CoapCall {
  readonly remote: Remote;
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly options: readonly CoapOption[];
  readonly payload?: Uint8Array;
  /** 1 to 8 bytes; default: a fresh one. */
  readonly token?: Buffer;
}

export interface CoapResponse {
  readonly code: string;
  readonly options: readonly CoapOption[];
  readonly payload: Buffer;
}

type ParsedPacket = Parameters<Agent['_handle']>[0];

interface Observation {
  readonly remote: Remote;
  readonly notified: (response: CoapResponse) => void;
  readonly request: OutgoingMessage;
}

/** The library's names of those options in responses that matter here. */
const numbers = new Map<number | string, number>([
  ['ETag', optionNumber.etag],
  ['Observe', optionNumber.observe],
  ['Content-Format', optionNumber.contentFormat],
  ['Block2', optionNumber.block2],
  ['Block1', optionNumber.block1],
]);

export class CoapAgent extends Agent {
  readonly #socket: Socket;
  readonly #responses = new WeakMap<CoapPacket, CoapResponse>();
  readonly #observations = new Map<string, Observation>();
  readonly #waiting = new Set<(error: Error) => void>();

  /** Requests keep the process alive, the idle socket does not. */
  constructor(socket: Socket) {
    super({ socket });
    this.#socket = socket.unref();
    this.on('error', () => undefined);
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /**
   * One confirmable request and its response, whatever its code.
   * @throws UnavailableError `peer-timeout`, `peer-unreachable`, `peer-reset`
   */
  async exchange(call: CoapCall, deadlineMs: number): Promise<CoapResponse> {
    const request = this.#prepare(call);
    return this.#settle(request, deadlineMs, (resolve, reject) => {
      request.once('response', ({ _packet }: IncomingMessage) => {
        const response = this.#responses.get(_packet);
        if (response === undefined || response.code === '0.00') reject(peerReset());
        else resolve(response);
      });
      request.end(Buffer.from(call.payload ?? []));
    });
  }

  /**
   * Sends a registration under the call's token. Resolves when the peer has it: to the first response, or to nothing
   * after an empty ACK. Later responses go to `notified`. Again under the same token, it registers anew.
   * @throws UnavailableError as `exchange` does
   */
  async observe(
    call: CoapCall & { readonly token: Buffer },
    deadlineMs: number,
    notified: (response: CoapResponse) => void,
  ): Promise<CoapResponse | undefined> {
    this.forget(call.token);
    const request = this.#prepare(call);
    const { remote, token } = call;
    this.#observations.set(token.toString('hex'), { remote, notified, request });
    return this.#settle<CoapResponse | undefined>(request, deadlineMs, (resolve, reject) => {
      let acknowledged = false;
      request.once('acknowledged', () => {
        acknowledged = true;
        resolve(undefined);
      });
      request.once('response', ({ _packet }: IncomingMessage) => {
        const response = this.#responses.get(_packet);
        if (response === undefined || response.code === '0.00') reject(peerReset());
        else if (acknowledged) notified(response);
        else resolve(response);
      });
      request.end();
    });
  }

  /** Stops listening under the token: the next notification is answered with a Reset. */
  forget(token: Buffer): void {
    const request = this.#observations.get(token.toString('hex'))?.request;
    this.#observations.delete(token.toString('hex'));
    if (request !== undefined) this.#release(request);
  }

  /** Fails what is waiting, ends every retransmission and closes the socket. */
  shutDown(): void {
    for (const fail of this.#waiting) fail(new UnavailableError('client-stopped', 'the CoAP client was stopped'));
    for (const { request } of this.#observations.values()) this.#release(request);
    this.#observations.clear();
    this.#socket.close();
  }

  /** The library would end all retransmission whenever it counts no request; its count is not reliable. */
  override _cleanUp(): void {
    // The socket is ours, and closed in `shutDown`.
  }

  override _handle(packet: ParsedPacket, remote: AddressInfo, local: AddressInfo): void {
    try {
      this.#received(packet, remote, local);
    } catch {
      // What cannot be read is no message; thrown from here, in the socket's listener, it would end the process.
    }
  }

  #received(packet: ParsedPacket, remote: AddressInfo, local: AddressInfo): void {
    const token = packet.token.toString('hex');
    const answersMessage = packet.ack || packet.reset;
    const request = answersMessage ? this._msgIdToReq.get(packet.messageId) : this._tkToReq.get(token);
    // RFC 7252 §5.3.2: a response comes from where the request went.
    if (request !== undefined && !isFrom({ address: request.url.hostname, port: request.url.port }, remote)) return;
    const response = readResponse(packet);
    if (request === undefined && !answersMessage) {
      const observation = this.#observations.get(token);
      if (observation !== undefined && isFrom(observation.remote, remote) && packet.code !== '0.00') {
        if (packet.confirmable) this.#acknowledge(packet.messageId, remote);
        observation.notified(response);
        return;
      }
    }
    // Block options stay hidden from the library, which would act on them.
    packet.options = [];
    this.#responses.set(packet, response);
    this.#withoutNamesake(packet, request, () => {
      super._handle(packet, remote, local);
    });
    if (packet.ack && packet.code === '0.00') request?.emit('acknowledged');
  }

  /** The library looks for a message id of ours even in messages whose id is the peer's own. */
  #withoutNamesake(packet: ParsedPacket, request: OutgoingMessage | undefined, handle: () => void): void {
    const namesake = this._msgIdToReq.get(packet.messageId);
    if (namesake === undefined || namesake === request) {
      handle();
      return;
    }
    this._msgIdToReq.delete(packet.messageId);
    handle();
    this._msgIdToReq.set(packet.messageId, namesake);
  }

  #acknowledge(messageId: number, { address, port }: AddressInfo): void {
    this.#socket.send(bareMessage('ack', '0.00', messageId), port, address, () => undefined);
  }

  #prepare({ remote, method, options, token }: CoapCall): OutgoingMessage {
    const request = this.request({
      hostname: remote.address,
      port: remote.port,
      method,
      ...(token !== undefined && { token }),
    });
    // Options by number are unknown to the library's own block-wise transfer and observation.
    request._packet.options = options.map(([number, value]) => ({ name: String(number), value }));
    return request;
  }

  /** Waits until `send` has its request resolved or rejected, for at most `deadlineMs`. */
  async #settle<T>(
    request: OutgoingMessage,
    deadlineMs: number,
    send: (resolve: (value: T) => void, reject: (error: Error) => void) => void,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      const fail = (error: Error): void => {
        clearTimeout(deadline);
        this.#waiting.delete(fail);
        this.#release(request);
        reject(error);
      };
      const deadline = setTimeout(() => {
        fail(new UnavailableError('peer-timeout', `no response within ${deadlineMs} ms`));
      }, deadlineMs);
      this.#waiting.add(fail);
      request.on('error', (cause: unknown) => {
        fail(new UnavailableError('peer-unreachable', 'the request could not be sent', cause));
      });
      const settle = (value: T): void => {
        clearTimeout(deadline);
        this.#waiting.delete(fail);
        resolve(value);
      };
      try {
        send(settle, fail);
      } catch (cause) {
        fail(new UnavailableError('peer-unreachable', 'the request could not be sent', cause));
      }
    });
  }

  /** Takes the request out of the library's tables and ends its retransmission. */
  #release(request: OutgoingMessage): void {
    this.abort(request);
    // Aborting unhooks everything; a datagram that still fails to go out must not end the process.
    request.sender.on('error', () => undefined);
  }
}

const peerReset = (): UnavailableError => new UnavailableError('peer-reset', 'the peer did not understand the request');

function isFrom(
  expected: { readonly address?: string | undefined; readonly port?: number | undefined },
  actual: Remote,
) {
  return expected.address === actual.address && expected.port === actual.port;
}

function readResponse({ code, options, payload }: ParsedPacket): CoapResponse {
  return {
    code,
    options: options.flatMap(({ name, value }): CoapOption[] => {
      const number = numbers.get(name);
      return number === undefined ? [] : [[number, value]];
    }),
    payload,
  };
}
