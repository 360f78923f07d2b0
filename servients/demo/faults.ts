/** Crashes at seeded times, and the wait until their traces are gone. */
import { sleep, type Runtime, type RuntimeEvent } from '../runtime.js';
import { between, seededRandom, type Range } from '../sim/random.js';
import type { Cast } from './cast.js';

const victims = ['backend', 'gateway', 'meter'] as const;

/** Kills and restarts one role after another, until told to stop. @returns how many crashes there were */
export async function crashNowAndThen(
  cast: Cast,
  { everyMs, seed }: { readonly everyMs: Range; readonly seed: string },
  runtime: Runtime,
  stop: AbortSignal,
): Promise<number> {
  const random = seededRandom(seed, 'crashes');
  for (let crashes = 0; ; crashes++) {
    await sleep(between(random, everyMs), stop);
    const role = victims[Math.floor(random.next() * victims.length)];
    if (stop.aborted || !role) return crashes;
    runtime.emit({ event: 'crash', role });
    await cast.crash(role);
  }
}

/** Follows, by what roles print, which epoch is the newest and who is keyed by it. */
export class KeyWatch {
  readonly #keyed = new Map<string, string>();
  #newest: RuntimeEvent | undefined;
  /** Whether the gateway that runs now has agreed on an epoch. */
  #gatewayAgreed = false;

  hear(event: RuntimeEvent): void {
    // What is started again has to say again how it stands.
    if (event.event === 'starting' && event['role'] === 'gateway') this.#gatewayAgreed = false;
    if (event.event === 'starting' && event['role'] === 'meter') this.#keyed.clear();
    if (event.event === 'epoch') [this.#newest, this.#gatewayAgreed] = [event, true];
    if (event.event === 'keyed') this.#keyed.set(String(event['id']), nameOf(event));
  }

  get newest(): RuntimeEvent | undefined {
    return this.#newest;
  }

  /** Members that say they are keyed by the newest epoch. */
  get keyed(): number {
    const { newest } = this;
    return newest ? [...this.#keyed.values()].filter((name) => name === nameOf(newest)).length : 0;
  }

  /**
   * Waits until the gateway that runs now has agreed on an epoch and all members are keyed by it. @returns whether that
   * was so within the time
   */
  async settled(members: number, withinMs: number): Promise<boolean> {
    const over = AbortSignal.timeout(withinMs);
    const isSettled = (): boolean => this.#gatewayAgreed && this.keyed === members;
    while (!over.aborted && !isSettled()) await sleep(200, over);
    return isSettled();
  }
}

const nameOf = (event: RuntimeEvent): string => `${String(event['epoch'])}.${String(event['attempt'])}`;
