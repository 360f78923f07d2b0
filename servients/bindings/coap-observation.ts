/** An observation (RFC 7641) from the client's side: fresh notifications in order, and registration again after silence. */
import { randomBytes } from 'node:crypto';
import { UnavailableError } from '../../crypto/errors.js';
import type { CoapAgent, CoapCall, CoapResponse } from './coap-agent.js';
import { optionNumber, uintOption, uintValue } from './coap-message.js';
import { accepted } from './coap-transfer.js';

export interface ObservationLimits {
  /** How long one message and its response may take. */
  readonly deadlineMs: number;
  /** An observation that hears nothing for so long registers again: the peer may have restarted. */
  readonly observeRefreshMs: number;
}

export interface ObservationHandlers {
  next(response: CoapResponse): void;
  error(error: Error): void;
}

export class Observation {
  readonly #agent: CoapAgent;
  readonly #call: CoapCall & { readonly token: Buffer };
  readonly #limits: ObservationLimits;
  readonly #handlers: ObservationHandlers;
  readonly #fetchRest: (response: CoapResponse) => Promise<CoapResponse>;
  readonly #order = new NotificationOrder();
  #delivery = Promise.resolve();
  #newest: Buffer | undefined;
  #refresh: NodeJS.Timeout | undefined;
  #ended = false;

  /** `fetchRest` completes a notification that is only the first block of many. */
  constructor(
    agent: CoapAgent,
    call: CoapCall,
    limits: ObservationLimits,
    handlers: ObservationHandlers,
    fetchRest: (response: CoapResponse) => Promise<CoapResponse>,
  ) {
    this.#agent = agent;
    this.#call = { ...call, token: randomBytes(8) };
    this.#limits = limits;
    this.#handlers = handlers;
    this.#fetchRest = fetchRest;
  }

  /** @throws PeerRefusal; UnavailableError as of an exchange, and `observe-refused` */
  async start(): Promise<void> {
    try {
      await this.#register();
    } catch (error) {
      this.stop();
      throw error;
    }
    this.#refresh = setInterval(() => void this.#register().catch(this.#fail), this.#limits.observeRefreshMs);
  }

  /** Ends it here; the peer's next notification is answered with a Reset. */
  stop(): void {
    this.#ended = true;
    clearInterval(this.#refresh);
    this.#agent.forget(this.#call.token);
  }

  /** Ends it here and tells the peer, without waiting for its answer. */
  leave(): void {
    this.stop();
    this.#agent.exchange(this.#withObserve(1), this.#limits.deadlineMs).catch(() => undefined);
  }

  async #register(): Promise<void> {
    const response = await this.#agent.observe(this.#withObserve(0), this.#limits.deadlineMs, (notification) => {
      this.#notified(notification);
    });
    if (response === undefined) return;
    if (uintValue(accepted(response).options, optionNumber.observe) === undefined) {
      throw new UnavailableError('observe-refused', 'the peer answered without registering the observation');
    }
    // A registration again tells the state again.
    this.#order.restart();
    if (this.#newest?.equals(response.payload) !== true) this.#notified(response);
  }

  #notified(response: CoapResponse): void {
    if (!this.#order.isFresh(response)) return;
    this.#newest = response.payload;
    this.#refresh?.refresh();
    this.#delivery = this.#delivery
      .then(async () => {
        const whole = accepted(await this.#fetchRest(response));
        if (!this.#ended) this.#handlers.next(whole);
      })
      .catch(this.#fail);
  }

  readonly #fail = (error: unknown): void => {
    if (!this.#ended) this.#handlers.error(error instanceof Error ? error : new Error(String(error)));
  };

  #withObserve(value: 0 | 1): CoapCall & { readonly token: Buffer } {
    return { ...this.#call, options: [...this.#call.options, [optionNumber.observe, uintOption(value)]] };
  }
}

/** RFC 7641 §3.4: which notifications are newer than what was seen, whatever order they arrive in. */
class NotificationOrder {
  #newest: { readonly value: number; readonly atMs: number } | undefined;

  restart(): void {
    this.#newest = undefined;
  }

  /** An error carries no number and is always news. */
  isFresh({ options }: CoapResponse): boolean {
    const value = uintValue(options, optionNumber.observe);
    if (value === undefined) return true;
    const nowMs = Date.now();
    const ahead = (value - (this.#newest?.value ?? value - 1)) & 0xff_ff_ff;
    const late = this.#newest !== undefined && nowMs > this.#newest.atMs + 128_000;
    if (!late && (ahead === 0 || ahead >= 2 ** 23)) return false;
    this.#newest = { value, atMs: nowMs };
    return true;
  }
}
