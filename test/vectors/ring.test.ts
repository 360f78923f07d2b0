import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { nobleSuiteP256, nobleSuiteX25519 } from '../../crypto/suite-noble.js';
import { suiteP256, suiteX25519 } from '../../crypto/suite-node.js';
import type { Suite } from '../../crypto/suite.js';
import { makeInputs } from './ring-inputs.js';
import {
  playVector,
  type RingVector,
  type VectorMember,
  type VectorMessages,
  type VectorValues,
} from './ring-vector.js';

/**
 * Noble signs deterministically in both suites, so that writing the files again changes nothing:
 * `WRITE_VECTORS=1 npx vitest run test/vectors/ring.test.ts`.
 */
const write = process.env.WRITE_VECTORS === '1';
const sizes = [2, 3, 5, 25];
const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const recompute = here('recompute.py');
const fileOf = (suite: Suite, n: number): string => here(`ring/suite${suite.id}-n${n}.json`);

if (write) {
  mkdirSync(here('ring'), { recursive: true });
  for (const suite of [nobleSuiteX25519, nobleSuiteP256]) {
    for (const n of sizes) {
      const inputs = makeInputs(suite, n);
      const vector: RingVector = {
        origin:
          'Written by test/vectors/ring.test.ts with the noble suites; docs/protocol.md names every value. Bytes are hex. ' +
          'The last 64 bytes of each message of suite 2 are its signature by RFC 6979: any other valid one is as good.',
        inputs,
        values: playVector(suite, inputs),
      };
      writeFileSync(fileOf(suite, n), `${JSON.stringify(vector, null, 1)}\n`);
    }
  }
}

const vectorOf = (suite: Suite, n: number): RingVector =>
  JSON.parse(readFileSync(fileOf(suite, n), 'utf8')) as RingVector;

/** Without what ECDSA draws at random: the signatures at the end of messages, and what holds messages whole. */
function withoutSignatures(values: VectorValues): unknown {
  const cut = (messages: VectorMessages | VectorMember['messages']): object =>
    Object.fromEntries(Object.entries(messages).map(([name, hex]) => [name, (hex as string).slice(0, -128)]));
  return {
    ...values,
    messages: cut(values.messages),
    members: values.members.map((member) => ({ ...member, messages: cut(member.messages) })),
    record: null,
  };
}

const implementations = [
  { name: 'x25519 on node:crypto', suite: suiteX25519, isNoble: false, deterministic: true },
  { name: 'p256 on node:crypto', suite: suiteP256, isNoble: false, deterministic: false },
  { name: 'x25519 on noble', suite: nobleSuiteX25519, isNoble: true, deterministic: true },
  { name: 'p256 on noble', suite: nobleSuiteP256, isNoble: true, deterministic: true },
];

describe.each(implementations)('the known answers of a ring, $name', ({ suite, isNoble, deterministic }) => {
  // The largest was written by noble, which takes seconds for it.
  it.each(isNoble ? [2, 3, 5] : sizes)('of %i: every value and every message', (n) => {
    const { inputs, values } = vectorOf(suite, n);
    const replay = playVector(suite, inputs, values);
    if (deterministic) expect(replay).toEqual(values);
    else expect(withoutSignatures(replay)).toEqual(withoutSignatures(values));
  });
});

const hasPython = runs(['--version']) === 0;

// Skipped where there is no python3; required where CI=true.
describe.skipIf(!hasPython && process.env.CI !== 'true')(
  'a second implementation, in Python and without our code',
  () => {
    it('computes the same values and messages, and verifies every signature', () => {
      const files = [suiteX25519, suiteP256].flatMap((suite) => sizes.map((n) => fileOf(suite, n)));
      const report = execFileSync('python3', [recompute, ...files], { encoding: 'utf8' });
      expect(report.trim().split('\n')).toHaveLength(files.length);
    });

    it.each([
      ['members[1].edge', (vector: RingVector) => vector.values.members[1]!.edge],
      [
        'signature of members[0].messages.share',
        (vector: RingVector) => vector.values.members[0]!.messages.share.slice(-128),
      ],
      ['messages.tokens', (vector: RingVector) => vector.values.messages.tokens.slice(0, -128)],
      ['sealed', (vector: RingVector) => vector.values.sealed],
    ])('would name %s, were it another', (name, partOf) => {
      for (const suite of [suiteX25519, suiteP256]) {
        const vector = vectorOf(suite, 2);
        const part = partOf(vector);
        const other = part.slice(0, -1) + (part.endsWith('0') ? '1' : '0');
        const altered = join(mkdtempSync(join(tmpdir(), 'ring-vector-')), 'altered.json');
        writeFileSync(altered, JSON.stringify(vector).replaceAll(part, other));
        expect(runs([recompute, altered])).toContain(name);
        rmSync(dirname(altered), { recursive: true });
      }
    });
  },
);

/** 0, or what a failing python3 said; undefined where there is none. */
function runs(args: readonly string[]): 0 | string | undefined {
  const { status, stderr } = spawnSync('python3', args, { encoding: 'utf8' });
  if (status === null) return undefined;
  return status === 0 ? 0 : stderr;
}
