/**
 * A gateway's way to its members: found in the directory, consumed once, and looked up again when they are silent. The
 * directory is the backend's, which must not decide where members are: its word counts where it is the member's own.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Servient } from '@node-wot/core';
import { compareBytes } from '../crypto/bytes.js';
import { UnavailableError } from '../crypto/errors.js';
import { discoveryContext } from '../crypto/registration.js';
import { validateTd } from '../td/validate-td.js';
import type { MemberAction, Members } from '../things/epoch-run.js';
import type { Log } from '../things/parts.js';
import type { EnrolledMeter } from '../things/stores.js';
import { invokeMessage } from './consume.js';
import type { DirectoryClient } from './directory-client.js';
import { codeOf } from './runtime.js';

export class MemberLinks implements Members {
  readonly #servient: Servient;
  readonly #directory: Pick<DirectoryClient, 'thing'>;
  readonly #enrolled: () => readonly EnrolledMeter[];
  readonly #log: Log;
  readonly #things = new Map<string, Promise<WoT.ConsumedThing>>();

  constructor(
    servient: Servient,
    directory: Pick<DirectoryClient, 'thing'>,
    enrolled: () => readonly EnrolledMeter[],
    log: Log,
  ) {
    this.#servient = servient;
    this.#directory = directory;
    this.#enrolled = enrolled;
    this.#log = log;
  }

  /** The next call looks the Thing up again. */
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

  async #consume(meter: EnrolledMeter): Promise<WoT.ConsumedThing> {
    const wot = await this.#servient.start();
    return wot.consume(await this.#describe(meter));
  }

  async #describe({ id, td }: EnrolledMeter): Promise<WoT.ThingDescription> {
    const signed = JSON.parse(td) as ThingMembers;
    try {
      const found = await this.#directory.thing(id);
      if (isDeepStrictEqual(plain(found), plain(signed))) return found;
      this.#log.warn({ id }, 'the directory has another TD than the member has signed; that one is used');
    } catch (error) {
      // Without an uplink the group is keyed all the same.
      this.#log.warn({ id, code: codeOf(error) }, 'not found in the directory; using the TD of its enrolment');
    }
    const verdict = validateTd(signed);
    if (!verdict.valid) throw new UnavailableError('td-invalid', `the TD of ${id} is not valid`);
    return verdict.td;
  }
}

type ThingMembers = Readonly<Record<string, unknown>>;

/** Without what a directory adds (WoT Discovery §7.3.1). */
const plain = ({ registration: _, '@context': context, ...rest }: ThingMembers): ThingMembers => ({
  ...rest,
  '@context': [context].flat().filter((entry) => entry !== discoveryContext),
});
