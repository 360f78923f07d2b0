/** Readings as a gateway brings them: sealed and signed by the meters of a deployment in turn, each with its own chain. */
import { firstPreviousHash } from '../../crypto/envelope/chain.js';
import { sealReading } from '../../crypto/envelope/reading.js';
import { encodeSenml } from '../../crypto/envelope/senml.js';
import { hash } from '../../crypto/hash.js';
import type { KeyName } from '../../crypto/ring/schedule.js';
import type { StoredEntry } from '../../things/stores.js';
import { random, type Deployment } from '../deployment.js';

const intervalS = 60;
const firstTimeS = 1_700_000_000;

export class Load {
  readonly #deployment: Deployment;
  readonly #name: KeyName;
  readonly #readingKey: Uint8Array;
  readonly #heads: { sequence: number; previousHash: Uint8Array }[];
  #sealed = 0;

  constructor(deployment: Deployment) {
    this.#deployment = deployment;
    this.#name = { gid: deployment.gid, epoch: 1, attempt: 1, th2: hash(deployment.suite, 'bench') };
    this.#readingKey = random(deployment.suite.aeadKeyBytes);
    this.#heads = deployment.meters.map(() => ({ sequence: 1, previousHash: firstPreviousHash }));
  }

  /** The next readings, of one meter after the other. */
  next(count: number): readonly StoredEntry[] {
    return Array.from({ length: count }, () => this.#seal(this.#sealed++ % this.#heads.length));
  }

  #seal(index: number): StoredEntry {
    const { suite, meters } = this.#deployment;
    const [meter, head] = [meters[index], this.#heads[index]];
    if (!meter || !head) throw new TypeError('a load needs meters');
    const { sequence, previousHash } = head;
    const plaintext = encodeSenml({ meterId: meter.id, readings: [readingAt(sequence)] });
    const key = { name: this.#name, readingKey: this.#readingKey };
    const sealed = sealReading(suite, meter, key, { sequence, previousHash }, plaintext);
    this.#heads[index] = { sequence: sequence + 1, previousHash: sealed.hash };
    const { gid, epoch, attempt } = this.#name;
    const named = { kind: 'reading', meter: meter.certHash, sequence, gid, epoch, attempt } as const;
    return { ...named, hash: sealed.hash, previousHash, message: sealed.envelope };
  }
}

const readingAt = (sequence: number) => ({
  timeS: firstTimeS + intervalS * sequence,
  intervalS,
  energyTotalWh: 10 * sequence,
  source: 'replay' as const,
  missing: false as const,
  powerW: 600,
  energyWh: 10,
  reactivePowerVar: 42.25,
  voltageV: 230.5,
  currentA: 2.6,
});
