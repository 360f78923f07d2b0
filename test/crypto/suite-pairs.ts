import { readFileSync } from 'node:fs';
import { expect } from 'vitest';
import { nobleSuiteP256, nobleSuiteX25519 } from '../../crypto/suite-noble.js';
import { suiteP256, suiteX25519 } from '../../crypto/suite-node.js';
import type { Suite, SuiteName } from '../../crypto/suite.js';
import { VerificationError } from '../../crypto/errors.js';

/** One suite on both implementations. */
export interface SuitePair {
  readonly name: SuiteName;
  readonly node: Suite;
  readonly noble: Suite;
}

export const pairs: readonly SuitePair[] = [
  { name: 'x25519', node: suiteX25519, noble: nobleSuiteX25519 },
  { name: 'p256', node: suiteP256, noble: nobleSuiteP256 },
];

interface NamedSuite {
  readonly on: string;
  readonly suite: Suite;
}

export const x25519Suites: readonly NamedSuite[] = [
  { on: 'node:crypto', suite: suiteX25519 },
  { on: 'noble', suite: nobleSuiteX25519 },
];
export const p256Suites: readonly NamedSuite[] = [
  { on: 'node:crypto', suite: suiteP256 },
  { on: 'noble', suite: nobleSuiteP256 },
];
export const allSuites: readonly NamedSuite[] = [...x25519Suites, ...p256Suites].map(({ on, suite }) => ({
  on: `${suite.name} on ${on}`,
  suite,
}));

export const vectors = (file: string): unknown =>
  JSON.parse(readFileSync(new URL(`../vectors/rfc/${file}.json`, import.meta.url), 'utf8'));

export function expectRefused(act: () => unknown, code: string): void {
  let thrown: unknown;
  try {
    act();
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(VerificationError);
  expect((thrown as VerificationError).code).toBe(code);
}

export const bigEndian = (value: bigint): Uint8Array =>
  Uint8Array.from({ length: 32 }, (_, i) => Number((value >> BigInt(8 * (31 - i))) & 0xffn));

export const littleEndian = (value: bigint): Uint8Array => bigEndian(value).reverse();

/** Bytes that differ from test to test and never from run to run. */
export const filled = (length: number, seed: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (seed * 167 + i * 59 + 11) & 0xff);
