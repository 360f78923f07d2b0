/**
 * CoAP over a bad network in virtual time. Confirmable exchanges as RFC 7252 §4.2 has them: retransmission with back-off,
 * each datagram with a fate of its own from the product's simulator, and a receiver that answers a duplicate with the
 * reply that it gave before. Block-wise transfer is the product's own, on both sides.
 */
import { UnavailableError } from '../../crypto/errors.js';
import type { CoapCall, CoapResponse } from '../../servients/bindings/coap-agent.js';
import { Downloads, Uploads } from '../../servients/bindings/coap-blocks.js';
import { coapClientDefaults } from '../../servients/bindings/coap-client.js';
import { blockOption, optionNumber, type Reply } from '../../servients/bindings/coap-message.js';
import { refusalReply } from '../../servients/bindings/coap-refusal.js';
import { readRequest, type CoapRequest } from '../../servients/bindings/coap-request.js';
import { coapDefaults } from '../../servients/bindings/coap-endpoint.js';
import { persistent } from '../../servients/bindings/coap-transport.js';
import { accepted, transfer } from '../../servients/bindings/coap-transfer.js';
import { DatagramPath, type Fate, type Impairment } from '../../servients/sim/impairment.js';
import { between, seededRandom, type SeededRandom } from '../../servients/sim/random.js';
import type { VirtualClock } from './virtual-clock.js';

/** What a host does with the body of a request; what it throws becomes a refusal, as in the product. */
export type Handler = (action: string, body: Uint8Array) => Promise<Uint8Array>;

export interface NetworkCounts {
  datagrams: number;
  lost: number;
  retransmissions: number;
  timeouts: number;
}

/** RFC 7252 §4.8. */
const ackTimeoutMs = { min: 2_000, max: 3_000 };
const maxRetransmit = 4;
const remote = { address: '192.0.2.1', port: 5683 };

/** One client's way to one server, and back. */
export class VirtualLink {
  readonly counts: NetworkCounts = { datagrams: 0, lost: 0, retransmissions: 0, timeouts: 0 };
  readonly #clock: VirtualClock;
  readonly #there: DatagramPath;
  readonly #back: DatagramPath;
  readonly #timing: SeededRandom;
  readonly #server: VirtualServer;
  #nextMessageId = 0;

  constructor(clock: VirtualClock, impairment: Impairment, seed: string, handler: Handler) {
    this.#clock = clock;
    this.#there = new DatagramPath(impairment, seededRandom(seed, 'there'));
    this.#back = new DatagramPath(impairment, seededRandom(seed, 'back'));
    this.#timing = seededRandom(seed, 'timing');
    this.#server = new VirtualServer(handler);
  }

  /** Invokes an action, block-wise where it must be. @throws PeerRefusal, UnavailableError `peer-timeout` */
  async invoke(action: string, body: Uint8Array): Promise<Uint8Array> {
    const exchange = persistent(
      (call, deadlineMs) => this.#exchange(call, deadlineMs),
      coapClientDefaults,
      () => this.#clock.nowMs,
    );
    const call = {
      remote,
      method: 'POST',
      options: [[optionNumber.uriPath, Buffer.from(action)]],
      payload: body,
    } as const;
    return new Uint8Array(accepted(await transfer(exchange, call, coapClientDefaults.bodyBytes)).payload);
  }

  async #exchange(call: CoapCall, deadlineMs: number): Promise<CoapResponse> {
    const messageId = this.#nextMessageId++;
    const over = new AbortController();
    const deadline = this.#clock.sleep(deadlineMs, over.signal);
    let answer: Reply | undefined;
    const answered = (reply: Reply): void => {
      answer ??= reply;
      over.abort();
    };
    void this.#transmit(call, messageId, over.signal, answered);
    await deadline;
    over.abort();
    if (!answer) {
      this.counts.timeouts += 1;
      throw new UnavailableError('peer-timeout', `no response within ${String(deadlineMs)} ms`);
    }
    return { code: answer.code, options: answer.options ?? [], payload: Buffer.from(answer.payload ?? []) };
  }

  async #transmit(
    call: CoapCall,
    messageId: number,
    over: AbortSignal,
    answered: (reply: Reply) => void,
  ): Promise<void> {
    let timeoutMs = between(this.#timing, ackTimeoutMs);
    for (let sent = 0; sent <= maxRetransmit && !over.aborted; sent++) {
      if (sent > 0) this.counts.retransmissions += 1;
      this.#pass(this.#there, () => {
        void this.#server.receive(call, messageId).then((reply) => {
          this.#pass(this.#back, () => {
            answered(reply);
          });
        });
      });
      await this.#clock.sleep(timeoutMs, over);
      timeoutMs *= 2;
    }
  }

  #pass(path: DatagramPath, arrive: () => void): void {
    const { fate }: { readonly fate: Fate } = path.next(this.#clock.nowMs);
    this.counts.datagrams += 1;
    if (fate.length === 0) this.counts.lost += 1;
    for (const delayMs of fate) void this.#clock.sleep(delayMs).then(arrive);
  }
}

/** Deduplication, blocks, and the handler behind them. */
class VirtualServer {
  readonly #handler: Handler;
  readonly #replies = new Map<number, Promise<Reply>>();
  readonly #uploads = new Uploads(coapDefaults);
  readonly #downloads = new Downloads(coapDefaults);

  constructor(handler: Handler) {
    this.#handler = handler;
  }

  receive(call: CoapCall, messageId: number): Promise<Reply> {
    const reply = this.#replies.get(messageId) ?? this.#answer(call).catch(refusalReply);
    this.#replies.set(messageId, reply);
    return reply;
  }

  async #answer({ method, options, payload }: CoapCall): Promise<Reply> {
    const request = readRequest(
      {
        type: 'con',
        code: method === 'POST' ? '0.02' : '0.01',
        messageId: 0,
        token: Buffer.alloc(0),
        options: [...options].sort(([a], [b]) => a - b),
        payload: Buffer.from(payload ?? []),
      },
      remote,
    );
    return (request.block2 && this.#downloads.next(request.transferKey, request.block2)) ?? this.#first(request);
  }

  async #first({ path, payload, block1, source, transferKey, block2 }: CoapRequest): Promise<Reply> {
    const body = block1 === undefined ? payload : this.#uploads.add(transferKey, source, block1, payload);
    const taken = block1 && ([optionNumber.block1, blockOption(block1)] as const);
    if (body === undefined) return { code: '2.31', options: taken ? [taken] : [] };
    const answer = await this.#handler(path.join('/'), new Uint8Array(body));
    const sent = this.#downloads.begin(transferKey, { code: '2.04', payload: answer }, block2);
    return { ...sent, options: [...(sent.options ?? []), ...(taken ? [taken] : [])] };
  }
}
