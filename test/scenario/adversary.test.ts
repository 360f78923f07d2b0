import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Profile } from '../../crypto/membership.js';
import { suiteP256, suiteX25519 } from '../../crypto/suite-node.js';
import type { Suite } from '../../crypto/suite.js';
import { at, neighbourhoodOf } from '../support/forge.js';
import { Adversary, operations, type Action, type Tally } from './adversary.js';

/** More of them find more: `ADVERSARY_RUNS=5000 npx vitest run test/scenario/adversary.test.ts`. */
const runs = Number(process.env.ADVERSARY_RUNS ?? 150);

/** Often enough on the honest path that what the adversary does there happens in every state. */
const operation = fc.oneof(
  { weight: 5, arbitrary: fc.constant('goOn' as const) },
  { weight: 5, arbitrary: fc.constantFrom(...operations) },
);
const action: fc.Arbitrary<Action> = fc.record({
  op: operation,
  a: fc.nat(999),
  b: fc.nat(999),
  c: fc.nat(9_999),
});

interface Setting {
  readonly name: string;
  readonly profile: Profile;
  readonly insider: boolean;
  readonly sizes: readonly number[];
  readonly suite: Suite;
  /** Of the runs; suite 2 differs from suite 1 in no rule. */
  readonly share: number;
}

const full = { name: 'full profile with an insider', profile: 'full', insider: true, sizes: [3, 4, 5] } as const;
const constrained = {
  name: 'constrained profile among honest members',
  profile: 'constrained',
  insider: false,
  sizes: [4, 5],
} as const;
const settings: readonly Setting[] = [
  { ...full, suite: suiteX25519, share: 0.5 },
  { ...constrained, suite: suiteX25519, share: 0.3 },
  { ...full, suite: suiteP256, share: 0.1 },
  { ...constrained, suite: suiteP256, share: 0.1 },
];

const tally: Tally = { activations: 0, aborts: 0, reveals: 0, restarts: 0, refusals: 0, verdicts: 0 };

describe('an adversary that is network and coordinator', () => {
  it.each(settings)(
    'makes no two keys of one attempt, buys no ephemeral of an active one, convicts no innocent, and stops no fair run: $name, $suite.name',
    ({ profile, insider, sizes, suite, share }) => {
      const rings = sizes.map((size) => {
        const n = neighbourhoodOf(suite, size);
        const lists = [1, 2].map((version) => n.membership(n.list({ version, policy: { profile } })));
        return { n, lists };
      });
      fc.assert(
        fc.property(fc.nat(), fc.array(action, { minLength: 20, maxLength: 60 }), (size, actions) => {
          const { n, lists } = at(rings, size % rings.length);
          const adversary = new Adversary(n, lists, insider ? at(n.meters, 0) : undefined, tally);
          for (const step of actions) adversary.act(step);
          adversary.endFairly();
        }),
        { numRuns: Math.ceil(runs * share) },
      );
    },
  );

  it('came far enough for that to mean something', () => {
    console.log(`adversary: ${runs} runs, ${JSON.stringify(tally)}`);
    expect(tally.activations).toBeGreaterThan(runs);
    expect(tally.refusals).toBeGreaterThan(runs);
    expect(tally.restarts + tally.aborts).toBeGreaterThan(0);
    expect(tally.verdicts).toBeGreaterThan(0);
  });
});
