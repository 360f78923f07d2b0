/** A meter's side of its gateway: found by its Thing Description, consumed once, and again when it could not be reached. */
import type { Servient } from '@node-wot/core';
import { GridringError, SetupError, UnavailableError } from '../crypto/errors.js';
import { validateTd } from '../td/validate-td.js';
import type { Submission } from '../things/round-follower.js';
import { invokeMessage, readValue } from './consume.js';

type GatewayAction = 'enrol' | 'submitReadings' | Submission['action'];

export class GatewayLink {
  readonly #servient: Servient;
  readonly #tdUrl: string;
  #gateway: Promise<WoT.ConsumedThing> | undefined;

  constructor(servient: Servient, tdUrl: string) {
    this.#servient = servient;
    this.#tdUrl = tdUrl;
  }

  /** @throws GridringError with the gateway's code where it refused; UnavailableError where it is silent */
  invoke(action: GatewayAction, message: Uint8Array): Promise<Uint8Array> {
    return this.#ask((gateway) => invokeMessage(gateway, action, message));
  }

  /** The value of the property `round`, unchecked. @throws as `invoke` */
  round(): Promise<unknown> {
    return this.#ask((gateway) => readValue(gateway, 'round'));
  }

  async #ask<T>(question: (gateway: WoT.ConsumedThing) => Promise<T>): Promise<T> {
    this.#gateway ??= this.#consume();
    try {
      return await question(await this.#gateway);
    } catch (error) {
      if (!(error instanceof GridringError) || error instanceof UnavailableError) this.#gateway = undefined;
      throw error;
    }
  }

  async #consume(): Promise<WoT.ConsumedThing> {
    const wot = await this.#servient.start();
    let td: unknown;
    try {
      td = await wot.requestThingDescription(this.#tdUrl);
    } catch (cause) {
      throw new UnavailableError('gateway-unreachable', `no answer from ${this.#tdUrl}`, cause);
    }
    const verdict = validateTd(td);
    if (!verdict.valid) throw new SetupError('td-invalid', `what ${this.#tdUrl} serves is no Thing Description`);
    return wot.consume(verdict.td);
  }
}
