/**
 * Throws mutated messages at everything that reads untrusted bytes. A parser may refuse them, as one of our errors and at
 * once. Anything else is a finding: another exception, or a message that takes a parser long.
 */
import { toHex } from '../../crypto/bytes.js';
import { GridringError } from '../../crypto/errors.js';
import { seededRandom } from '../../servients/sim/random.js';
import { mutate } from './mutate.js';
import type { Target } from './targets.js';

export interface Finding {
  readonly target: string;
  /** Hex. */
  readonly bytes: string;
  readonly fault: string;
}

export interface FuzzResult {
  readonly cases: number;
  /** Mutants that were messages all the same. */
  readonly accepted: number;
  readonly findings: readonly Finding[];
}

/** Of CPU time: a machine that is busy elsewhere makes no finding. */
const slowMs = 250;

/** Spreads the cases evenly over the targets. @param until whether to stop early, asked now and then */
export function fuzz(
  targets: readonly Target[],
  {
    cases,
    seed,
    until = () => false,
  }: { readonly cases: number; readonly seed: string; readonly until?: () => boolean },
): FuzzResult {
  const findings = new Map<string, Finding>();
  let [done, accepted] = [0, 0];
  const streams = targets.map((target) => ({ target, random: seededRandom(seed, target.name) }));
  for (const { name, valid, parse } of targets) {
    for (const bytes of valid) {
      const fault = faultOf(parse, bytes);
      if (fault !== 'accepted') throw new TypeError(`${name}: a valid message was not taken: ${fault}`);
    }
  }
  while (done < cases && !until()) {
    for (const { target, random } of streams) {
      const bytes = mutate(random, target.valid);
      const fault = faultOf(target.parse, bytes);
      done += 1;
      if (fault === 'accepted') accepted += 1;
      else if (fault !== 'refused')
        findings.set(`${target.name} ${fault}`, { target: target.name, bytes: toHex(bytes), fault });
    }
  }
  return { cases: done, accepted, findings: [...findings.values()] };
}

/** `accepted`, `refused`, or what is wrong. */
export function faultOf(parse: Target['parse'], bytes: Uint8Array): string {
  const before = process.cpuUsage();
  let fault = 'accepted';
  try {
    parse(bytes);
  } catch (error) {
    if (error instanceof GridringError) fault = 'refused';
    else fault = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  }
  const { user, system } = process.cpuUsage(before);
  return user + system > slowMs * 1_000 ? 'slow' : fault;
}
