/** Meters that seal readings under the epoch of an in-memory ring, as they and their gateway would deliver them. */
import { encodeUpload } from '../../crypto/envelope/reading.js';
import { newSealingState, seal, type SealingState } from '../../crypto/envelope/sealing.js';
import { intervalEnergyWh, type MeasuredReading } from '../../crypto/envelope/senml.js';
import type { Membership } from '../../crypto/membership.js';
import { nowS, seededRandom, type Neighbourhood } from '../support/neighbourhood.js';
import { activeKey, type Player } from '../support/ring.js';

/** Numbers that nobody meets by chance in a file. */
export const reading = (i: number): MeasuredReading => {
  const powerW = 4_321.0625 + i;
  return {
    timeS: nowS + 60 * i,
    intervalS: 60,
    energyTotalWh: 1_234_567 + i,
    source: 'replay',
    missing: false,
    powerW,
    energyWh: intervalEnergyWh(powerW, 60),
    reactivePowerVar: 765.53125,
    voltageV: 239.8515625,
    currentA: 18.0703125,
  };
};

export class TestMeter {
  readonly #n: Neighbourhood;
  readonly #player: Player;
  readonly #membership: Membership;
  readonly #random: ReturnType<typeof seededRandom>;
  readonly readingKeys: Uint8Array[] = [];
  state: SealingState = newSealingState;

  constructor(n: Neighbourhood, player: Player, { membership = n.membership(), seed = 'meter' } = {}) {
    this.#n = n;
    this.#player = player;
    this.#membership = membership;
    this.#random = seededRandom(seed);
  }

  get id(): string {
    return this.#player.principal.certificate.id;
  }

  /** Seals so many more readings. */
  measure(count: number): { readonly grants: readonly Uint8Array[]; readonly readings: readonly Uint8Array[] } {
    const { certHash, kid, signer } = this.#player.principal;
    const items = Array.from({ length: count }, () => {
      const step = seal(
        {
          suite: this.#n.suite,
          self: { id: this.id, certHash, kid, signer },
          membership: this.#membership,
          activeKey: activeKey(this.#player).name,
          random: this.#random,
        },
        this.state,
        // After a restoration sequences are large, and times are not.
        reading(this.state.nextSequence % 2 ** 20),
      );
      this.state = step.state;
      return step.items;
    }).flat();
    if (this.state.key) this.readingKeys.push(this.state.key.readingKey);
    const ofKind = (kind: 'grant' | 'reading') => items.filter((item) => item.kind === kind).map((i) => i.message);
    return { grants: ofKind('grant'), readings: ofKind('reading') };
  }
}

/** What the gateway sends of what its meters gave it. */
export const uploadOf = (...parts: readonly ReturnType<TestMeter['measure']>[]): Uint8Array =>
  encodeUpload({ grants: parts.flatMap(({ grants }) => grants), readings: parts.flatMap(({ readings }) => readings) });
