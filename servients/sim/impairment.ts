/** What a bad network does to what passes it: decided packet by packet, from a seed, before anything is delayed. */
import { between, type Range, type SeededRandom } from './random.js';

/** Rates are from 0 to 1. */
export interface Impairment {
  readonly lossRate: number;
  readonly delayMs: Range;
  readonly reorderRate: number;
  readonly duplicateRate: number;
}

export const noImpairment: Impairment = { lossRate: 0, delayMs: { min: 0, max: 0 }, reorderRate: 0, duplicateRate: 0 };

export interface Counts {
  /** Copies that were passed on. */
  readonly forwarded: number;
  readonly lost: number;
  /** Passed on later than they came. */
  readonly delayed: number;
  readonly reordered: number;
  readonly duplicated: number;
  /** Not the simulated network's doing: no room for more. */
  readonly overflowed: number;
}

export const noCounts: Counts = { forwarded: 0, lost: 0, delayed: 0, reordered: 0, duplicated: 0, overflowed: 0 };

/** A reordered datagram is held back by the largest delay once more, and at least by this, so that others can pass it. */
const leastHoldMs = 20;

/** When each copy of a datagram arrives, counted from now; none when it is lost. */
export type Fate = readonly number[];

/**
 * One direction of one flow of datagrams. Delays differ from datagram to datagram, and their order stays, as in a queue,
 * but for those that are reordered and for second copies. Every datagram draws equally often, whatever becomes of it: a
 * change of one setting leaves the decisions about the others as they were.
 */
export class DatagramPath {
  readonly #impairment: Impairment;
  readonly #random: SeededRandom;
  #lastArrivalMs = 0;

  constructor(impairment: Impairment, random: SeededRandom) {
    this.#impairment = impairment;
    this.#random = random;
  }

  /** The fate of the next datagram, and what it counts as. `nowMs` does not go back. */
  next(nowMs: number): { readonly fate: Fate; readonly reordered: boolean } {
    const { lossRate, delayMs, reorderRate, duplicateRate } = this.#impairment;
    const lost = this.#random.next() < lossRate;
    const reordered = this.#random.next() < reorderRate;
    const duplicated = this.#random.next() < duplicateRate;
    const [firstMs, secondMs] = [between(this.#random, delayMs), between(this.#random, delayMs)];
    if (lost) return { fate: [], reordered: false };
    const heldMs = reordered ? Math.max(delayMs.max, leastHoldMs) : 0;
    let arrivalMs = nowMs + firstMs + heldMs;
    if (!reordered) this.#lastArrivalMs = arrivalMs = Math.max(arrivalMs, this.#lastArrivalMs);
    const fate = [arrivalMs - nowMs, ...(duplicated ? [secondMs] : [])];
    return { fate, reordered };
  }
}

/** RFC 6298 §2: the first retransmission timeout of TCP, which doubles. */
const retransmissionMs = 1_000;
const mostRetransmissions = 6;

/**
 * One direction of one TCP connection. TCP repairs loss by itself: what is lost arrives, and all that follows it, when it
 * was sent again, after 1 s, 3 s, 7 s, and so on. Nothing is reordered or duplicated.
 */
export class StreamPath {
  readonly #impairment: Impairment;
  readonly #random: SeededRandom;
  #lastArrivalMs = 0;

  constructor(impairment: Impairment, random: SeededRandom) {
    this.#impairment = impairment;
    this.#random = random;
  }

  /** When the next chunk arrives, counted from now, and how often it was lost before. */
  next(nowMs: number): { readonly delayMs: number; readonly losses: number } {
    const { lossRate, delayMs } = this.#impairment;
    let losses = 0;
    while (losses < mostRetransmissions && this.#random.next() < lossRate) losses += 1;
    const stallMs = retransmissionMs * (2 ** losses - 1);
    const arrivalMs = Math.max(nowMs + between(this.#random, delayMs) + stallMs, this.#lastArrivalMs);
    this.#lastArrivalMs = arrivalMs;
    return { delayMs: arrivalMs - nowMs, losses };
  }
}
