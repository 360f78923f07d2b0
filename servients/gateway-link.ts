/** A meter's side of its gateway: found by its Thing Description, consumed once, and again when it could not be reached. */
import type { Servient } from '@node-wot/core';
import { GridringError, SetupError, UnavailableError } from '../crypto/errors.js';
import { directoryMember } from '../crypto/registration.js';
import { validateTd } from '../td/validate-td.js';
import type { Submission } from '../things/round-follower.js';
import { invokeMessage, readValue } from './consume.js';

type GatewayAction = 'enrol' | 'renew' | 'submitReadings' | Submission['action'];

export class GatewayLink {
  readonly #servient: Servient;
  #tdUrls: readonly [string, ...string[]];
  #tries = 0;
  #gateway: Promise<WoT.ConsumedThing> | undefined;

  /** @param tdUrls tried in turn until one answers */
  constructor(servient: Servient, tdUrls: readonly [string, ...string[]]) {
    this.#servient = servient;
    this.#tdUrls = tdUrls;
  }

  /** The gateway is somewhere else now. */
  moveTo(tdUrl: string): void {
    this.#tdUrls = [tdUrl, ...this.#tdUrls.filter((known) => known !== tdUrl)];
    this.#tries = 0;
    this.#gateway = undefined;
  }

  /** Where the gateway is looked for now. */
  get tdUrl(): string {
    return this.#tdUrls[this.#tries % this.#tdUrls.length] ?? this.#tdUrls[0];
  }

  /** @throws GridringError with the gateway's code where it refused; UnavailableError where it is silent */
  invoke(action: GatewayAction, message: Uint8Array): Promise<Uint8Array> {
    return this.#ask((gateway) => invokeMessage(gateway, action, message));
  }

  /** The value of the property `round`, unchecked. @throws as `invoke` */
  round(): Promise<unknown> {
    return this.#ask((gateway) => readValue(gateway, 'round'));
  }

  /** The directory in which the gateway registers its meters; undefined where it names none. @throws as `invoke` */
  directory(): Promise<string | undefined> {
    return this.#ask(async (gateway) => {
      const { [directoryMember]: directory } = gateway.getThingDescription() as Readonly<Record<string, unknown>>;
      return typeof directory === 'string' ? directory : undefined;
    });
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
    const { tdUrl } = this;
    let td: unknown;
    try {
      td = await wot.requestThingDescription(tdUrl);
    } catch (cause) {
      this.#tries += 1;
      throw new UnavailableError('gateway-unreachable', `no answer from ${tdUrl}`, cause);
    }
    const verdict = validateTd(td);
    if (!verdict.valid) throw new SetupError('td-invalid', `what ${tdUrl} serves is no Thing Description`);
    return wot.consume(verdict.td);
  }
}
