/** Foundings over a bad network: the real gateway and real meters, CoAP's retransmission, and time that costs nothing. */
import { afterAll, describe, expect, it } from 'vitest';
import { toHex } from '../../crypto/bytes.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { noImpairment, type Impairment } from '../../servients/sim/impairment.js';
import { neighbourhoodOf } from '../support/forge.js';
import { foundImpaired, groupDefaults, type Impaired } from '../support/impaired.js';

const lossy = (lossRate: number): Impairment => ({
  lossRate,
  delayMs: { min: 150, max: 300 },
  reorderRate: 0.05,
  duplicateRate: 0.05,
});

const lines: string[] = [];
afterAll(() => {
  process.stdout.write(`${lines.join('\n')}\n`);
});

async function found(count: number, impairment: Impairment, seed: string): Promise<Impaired> {
  const n = neighbourhoodOf(suiteX25519, count);
  const result = await foundImpaired({ n, impairment, seed });
  const { outcome, keys, tookS, network } = result;
  const ended =
    typeof outcome === 'string'
      ? outcome
      : `attempt ${outcome.attempt}, ${outcome.confirmed} of ${outcome.members} confirmed`;
  lines.push(
    `${count} members, ${impairment.lossRate * 100} % loss, seed ${seed}: ${ended} after ${tookS} s; ` +
      `${keys.filter(Boolean).length} active; ${network.datagrams} datagrams, ${network.lost} lost, ${network.retransmissions} sent again`,
  );
  expectWhole(result);
  return result;
}

/** Nobody believes in a key that the others do not have: active means confirmed by all of the roster. */
function expectWhole({ outcome, keys, roster }: Impaired): void {
  const active = keys.flatMap((key) => (key ? [key] : []));
  expect(new Set(active.map(({ groupKey }) => toHex(groupKey))).size).toBeLessThanOrEqual(1);
  for (const key of active) expect(key.roster.map(toHex).sort()).toEqual(roster);
  const reported = typeof outcome === 'string' ? 0 : outcome.confirmed;
  // A meter whose answer was lost is active before the gateway knows.
  expect(reported).toBeLessThanOrEqual(active.length);
}

const everybody = (count: number, { outcome, keys }: Impaired): void => {
  expect(outcome).toMatchObject({ members: count, confirmed: count });
  expect(keys.filter(Boolean)).toHaveLength(count);
};

describe('a founding', () => {
  it('on a good network waits for nothing', async () => {
    const result = await found(15, noImpairment, 'none');
    everybody(15, result);
    expect(result.tookS).toBe(0);
  });

  it.each(['1', '2', '3'])('of 15 with a fifth lost and 300 ms ends in success, seed %s', async (seed) => {
    everybody(15, await found(15, lossy(0.2), seed));
  });

  it.each([25, 32])('of %i with a fifth lost ends in success', async (count) => {
    everybody(count, await found(count, lossy(0.2), '1'));
  });

  it.each(['1', '2'])('of 15 with two fifths lost ends in success or a clear error, seed %s', async (seed) => {
    const { outcome } = await found(15, lossy(0.4), seed);
    if (typeof outcome === 'string') expect(outcome).toBe('members-missing');
    else expect(outcome.members).toBe(15);
  });

  it('takes more than one exchange’s retransmission, for which the default deadline has room', () => {
    expect(groupDefaults.roundDeadlineMs).toBeGreaterThan(45_000);
  });
});

describe('clocks', () => {
  const n = neighbourhoodOf(suiteX25519, 5);
  const withClocks = (clockErrorsS: readonly number[]): Promise<Impaired> =>
    foundImpaired({ n, impairment: noImpairment, seed: 'clocks', clockErrorsS });

  it('within five minutes of the gateway’s do no harm', async () => {
    const result = await withClocks([300, -300, 120, -1, 0]);
    everybody(5, result);
    expectWhole(result);
  });

  it('beyond that are refused at enrolment, by name, and the others go on', async () => {
    const result = await withClocks([302, -302, 0, 0, 0]);
    expect(result.refusals).toEqual(['enrolment-stale', 'enrolment-stale', undefined, undefined, undefined]);
    expect(result.outcome).toMatchObject({ members: 3, confirmed: 3 });
    expectWhole(result);
  });
});
