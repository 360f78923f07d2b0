/**
 * A gateway's way to its members: found in the directory, consumed once, and looked up again when they are silent. The
 * directory is the backend's, which must not decide where members are: its word counts where it is the member's own.
 */
import { compareBytes } from '../crypto/bytes.js';
import { UnavailableError } from '../crypto/errors.js';
import { validateTd } from '../td/validate-td.js';
import type { MemberAction, Members } from '../things/epoch-run.js';
import type { EnrolledMeter } from '../things/stores.js';
import { invokeMessage } from './consume.js';
import type { Discovery } from './discovery.js';

export class MemberLinks implements Members {
  readonly #things: Pick<Discovery, 'thing' | 'forget'>;
  readonly #enrolled: () => readonly EnrolledMeter[];

  constructor(things: Pick<Discovery, 'thing' | 'forget'>, enrolled: () => readonly EnrolledMeter[]) {
    this.#things = things;
    this.#enrolled = enrolled;
  }

  /** The next call looks the Thing up again. */
  forget(id: string): void {
    this.#things.forget(id);
  }

  async invoke(member: Uint8Array, action: MemberAction, message: Uint8Array): Promise<Uint8Array> {
    const meter = this.#enrolled().find(({ certHash }) => compareBytes(certHash, member) === 0);
    if (!meter) throw new UnavailableError('not-enrolled', 'the member has not enrolled yet');
    try {
      return await invokeMessage(await this.#things.thing(meter.id), action, message);
    } catch (error) {
      if (error instanceof UnavailableError) this.forget(meter.id);
      throw error;
    }
  }
}

/** What a member has signed of itself when it enrolled; without an uplink the group is keyed all the same. */
export function enrolledTd(enrolled: readonly EnrolledMeter[], sought: string): WoT.ThingDescription | undefined {
  const meter = enrolled.find(({ id }) => id === sought);
  if (!meter) return undefined;
  const verdict = validateTd(JSON.parse(meter.td));
  if (!verdict.valid) throw new UnavailableError('td-invalid', `the TD of ${sought} is not valid`);
  return verdict.td;
}
