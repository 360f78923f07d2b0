/** What the simulator's links have in common. */
import { noCounts, type Counts, type Impairment } from './impairment.js';

export interface Endpoint {
  /** IP address. */
  readonly address: string;
  readonly port: number;
}

/** A port of the simulator, and what lies behind the bad network. */
export interface LinkPlan {
  readonly protocol: 'udp' | 'tcp';
  readonly listen: Endpoint;
  readonly target: Endpoint;
}

export interface LinkOptions {
  readonly plan: LinkPlan;
  readonly impairment: Impairment;
  readonly seed: string;
  readonly tally: Tally;
  readonly limits: LinkLimits;
}

export interface LinkLimits {
  /** UDP: clients that are told apart, the one that is silent longest gives way; TCP: connections. */
  readonly flows: number;
  /** UDP: bytes under way on each link. TCP senders are slowed down instead. */
  readonly bufferedBytes: number;
}

export const linkDefaults: LinkLimits = { flows: 512, bufferedBytes: 8_000_000 };

export interface Link {
  /** Where it listens: the port that was taken where 0 was asked for. */
  readonly listening: Endpoint;
  close(): Promise<void>;
}

/** Counts of all links together. */
export class Tally {
  #counts = noCounts;

  get counts(): Counts {
    return this.#counts;
  }

  add(name: keyof Counts, count = 1): void {
    this.#counts = { ...this.#counts, [name]: this.#counts[name] + count };
  }
}

/** Towards the target, or from it. */
export type Direction = 'there' | 'back';

/** How a link, a flow of it and a direction are named for the seed: by what stays from run to run. */
export const labelsOf = (
  { protocol, listen }: LinkPlan,
  flow: number,
  direction: Direction,
): readonly (string | number)[] => [protocol, listen.port, flow, direction];
