/**
 * A gateway's way to its members: by the TD that each has signed, consumed once, and again when it was silent. The directory
 * has the same TDs, but it is the backend's, which must not say where members are.
 */
import type { Servient } from '@node-wot/core';
import { compareBytes } from '../crypto/bytes.js';
import { UnavailableError } from '../crypto/errors.js';
import { validateTd } from '../td/validate-td.js';
import type { MemberAction, Members } from '../things/epoch-run.js';
import type { EnrolledMeter } from '../things/stores.js';
import { invokeMessage } from './consume.js';

export class MemberLinks implements Members {
  readonly #servient: Servient;
  readonly #enrolled: () => readonly EnrolledMeter[];
  readonly #things = new Map<string, Promise<WoT.ConsumedThing>>();

  constructor(servient: Servient, enrolled: () => readonly EnrolledMeter[]) {
    this.#servient = servient;
    this.#enrolled = enrolled;
  }

  /** The next call consumes the Thing again. */
  forget(id: string): void {
    this.#things.delete(id);
  }

  async invoke(member: Uint8Array, action: MemberAction, message: Uint8Array): Promise<Uint8Array> {
    const meter = this.#enrolled().find(({ certHash }) => compareBytes(certHash, member) === 0);
    if (!meter) throw new UnavailableError('not-enrolled', 'the member has not enrolled yet');
    const thing = this.#things.get(meter.id) ?? this.#consume(meter);
    this.#things.set(meter.id, thing);
    try {
      return await invokeMessage(await thing, action, message);
    } catch (error) {
      if (error instanceof UnavailableError) this.forget(meter.id);
      throw error;
    }
  }

  async #consume({ id, td }: EnrolledMeter): Promise<WoT.ConsumedThing> {
    const wot = await this.#servient.start();
    const verdict = validateTd(JSON.parse(td));
    if (!verdict.valid) throw new UnavailableError('td-invalid', `the TD of ${id} is not valid`);
    return wot.consume(verdict.td);
  }
}
