import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { fromHex } from '../../crypto/bytes.js';
import { seededRandom } from '../../servients/sim/random.js';
import { faultOf, fuzz, type Finding } from '../../soak/fuzz/fuzz.js';
import { mutate } from '../../soak/fuzz/mutate.js';
import { makeTargets } from '../../soak/fuzz/targets.js';

const targets = makeTargets();

it('whatever reads untrusted bytes takes them or refuses them, ten thousand times', () => {
  const { cases, findings } = fuzz(targets, { cases: 10_000, seed: 'npm test' });
  expect(findings).toEqual([]);
  expect(cases).toBeGreaterThanOrEqual(10_000);
});

it('most mutants are no messages, but some are: they come near enough', () => {
  const { accepted, cases } = fuzz(targets, { cases: 1_000, seed: 'near' });
  expect(accepted).toBeGreaterThan(cases / 1_000);
  expect(accepted).toBeLessThan(cases / 2);
});

it('the same seed makes the same mutants', () => {
  const draw = () => {
    const random = seededRandom('7');
    return Array.from({ length: 100 }, () => mutate(random, [Uint8Array.of(1, 2, 3, 4), Uint8Array.of(9, 8, 7)]));
  };
  expect(draw()).toEqual(draw());
});

it('tells a parser that throws anything else, or takes long', () => {
  const throwing = (): never => {
    throw new RangeError('beyond the end');
  };
  const slow = (): void => {
    const spentUs = (): number => process.cpuUsage().user + process.cpuUsage().system;
    for (const endUs = spentUs() + 260_000; spentUs() < endUs;);
  };
  expect(faultOf(throwing, Uint8Array.of())).toBe('RangeError: beyond the end');
  expect(faultOf(slow, Uint8Array.of())).toBe('slow');
});

const folder = fileURLToPath(new URL('../vectors/fuzz/', import.meta.url));
const found = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.json')) : [];

it.skipIf(found.length === 0).each(found)('what was found once is refused now: %s', (name) => {
  const { target, bytes } = JSON.parse(readFileSync(`${folder}${name}`, 'utf8')) as Finding;
  const parse = targets.find((known) => known.name === target)?.parse;
  expect(parse, target).toBeDefined();
  expect(['accepted', 'refused']).toContain(faultOf(parse!, fromHex(bytes)));
});
