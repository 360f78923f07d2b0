/** An audit log in the hands of somebody who wants it to say something else. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { signAuditCheckpoint, verifyAuditCheckpoint } from '../../crypto/audit/checkpoint.js';
import { auditFacts, auditStart, followAudit, type AuditEntry } from '../../crypto/audit/entry.js';
import type { AuditResult } from '../../crypto/audit/verify.js';
import { GridringError } from '../../crypto/errors.js';
import { suiteP256, suiteX25519 } from '../../crypto/suite-node.js';
import { checkpointLine, entryLine, headerLine, verifyAuditFile } from '../../servients/audit-file.js';
import { makeNeighbourhood, nowS } from '../support/neighbourhood.js';

const log = new Uint8Array(16).fill(7);

function logOf(suite = suiteX25519, seed = 'log') {
  const n = makeNeighbourhood(suite, 1);
  const identity = { ...n.backend, certificates: [n.backend.certificate.der, n.certificates[0]!] };
  const entries: AuditEntry[] = [];
  for (let i = 1; i <= 6; i++) {
    const event = { actor: `urn:gridring:operator:${seed}`, action: 'test.do', subject: `thing ${i}`, requestId: null };
    const facts = auditFacts({ ...event, timeS: nowS + i, outcome: 'done', details: { i, on: true, text: 'é"\\' } });
    entries.push(followAudit(suite, log, entries.at(-1) ?? auditStart, facts));
  }
  const sign = (number: number, { sequence, hash }: AuditEntry): Uint8Array =>
    signAuditCheckpoint(suite, identity, { number, log, sequence, hash, timeS: nowS + sequence });
  const checkpoints = [sign(1, entries[1]!), sign(2, entries[3]!), sign(3, entries[5]!)];
  const lines = [headerLine({ log, start: auditStart }), ...checkpoints.map(checkpointLine), ...entries.map(entryLine)];
  return { n, entries, checkpoints, lines, sign };
}

const fileOf = (lines: readonly string[]): Uint8Array => Buffer.from(lines.map((line) => `${line}\n`).join(''));

async function* whole(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

const original = logOf();

const verify = (bytes: Uint8Array, kept: readonly Uint8Array[] = []): Promise<AuditResult> =>
  verifyAuditFile(whole(bytes), { roots: () => [original.n.root], kept });

/** What is found, or the code of the refusal. */
async function found(bytes: Uint8Array, kept: readonly Uint8Array[] = []): Promise<readonly unknown[]> {
  try {
    return (await verify(bytes, kept)).findings.map(({ kind, first, last }) => [kind, first, last]);
  } catch (error) {
    if (error instanceof GridringError) return [error.code];
    throw error;
  }
}

describe('an exported audit log', () => {
  it.each([suiteX25519, suiteP256])('verifies with the root’s certificate alone: suite $name', async (suite) => {
    const { n, lines } = logOf(suite);
    const roots = { roots: () => [n.root], kept: [] };
    expect(await verifyAuditFile(whole(fileOf(lines)), roots)).toMatchObject({
      entries: 6,
      lastSequence: 6,
      checkpoints: 3,
      findings: [],
    });
  });

  it('that comes in pieces of any size is the same', async () => {
    const bytes = fileOf(original.lines);
    async function* pieces(): AsyncGenerator<Uint8Array> {
      for (let i = 0; i < bytes.length; i += 7) yield bytes.subarray(i, i + 7);
    }
    const result = await verifyAuditFile(pieces(), { roots: () => [original.n.root], kept: [] });
    expect(result.findings).toEqual([]);
  });

  it('with any one byte changed, taken out or put in, is found out', async () => {
    const bytes = fileOf(original.lines);
    const change = fc.record({
      at: fc.nat(bytes.length - 1),
      to: fc.nat(255),
      kind: fc.constantFrom('change', 'remove', 'insert'),
    });
    await fc.assert(
      fc.asyncProperty(change, async ({ at, to, kind }) => {
        fc.pre(kind !== 'change' || bytes[at] !== to);
        const middle = kind === 'remove' ? [] : [to];
        const rest = bytes.subarray(kind === 'insert' ? at : at + 1);
        const changed = Uint8Array.from([...bytes.subarray(0, at), ...middle, ...rest]);
        expect(await found(changed)).not.toEqual([]);
      }),
      { numRuns: 60 },
    );
  });

  it('with any line taken out, doubled or moved, is found out', async () => {
    const { lines } = original;
    for (let from = 0; from < lines.length; from++) {
      const without = lines.toSpliced(from, 1);
      expect(await found(fileOf(without))).not.toEqual([]);
      for (let to = 0; to <= without.length; to++) {
        // What is further away is in no other place than the next but one.
        if (to !== from && Math.abs(to - from) <= 2)
          expect(await found(fileOf(without.toSpliced(to, 0, lines[from]!)))).not.toEqual([]);
      }
      expect(await found(fileOf(lines.toSpliced(from, 0, lines[from]!)))).not.toEqual([]);
    }
  });

  it('with any field of any entry changed, and its hash too, is found out by name', async () => {
    const { lines, entries } = original;
    const rewrites: readonly ((entry: AuditEntry) => AuditEntry)[] = [
      (entry) => ({ ...entry, actor: 'nobody' }),
      (entry) => ({ ...entry, action: 'test.other' }),
      (entry) => ({ ...entry, subject: '' }),
      (entry) => ({ ...entry, outcome: 'refused' }),
      (entry) => ({ ...entry, requestId: 'r' }),
      (entry) => ({ ...entry, timeS: entry.timeS + 1 }),
      (entry) => ({ ...entry, details: { ...entry.details, i: 99 } }),
    ];
    for (const rewrite of rewrites) {
      for (const [i, entry] of entries.entries()) {
        const altered = rewrite(entry);
        expect(await found(fileOf(lines.with(4 + i, entryLine(altered))))).toContainEqual(['altered', i + 1, i + 1]);
        const rehashed = followAudit(suiteX25519, log, entries[i - 1] ?? auditStart, altered);
        const says = await found(fileOf(lines.with(4 + i, entryLine(rehashed))));
        // The next one does not follow; where it is the last one or one that is signed for, a checkpoint says so too.
        const [kind, at] = i === 5 ? ['contradicts-checkpoint', 6] : ['misplaced', i + 2];
        expect(says).toContainEqual([kind, at, at]);
      }
    }
  });

  it('of which a backend signed other entries is found out, though its chain is right', async () => {
    const forged = logOf(suiteX25519, 'somebody else');
    const lines = [...original.lines.slice(0, 4), ...forged.lines.slice(4)];
    expect(await found(fileOf(lines))).toEqual([2, 4, 6].map((at) => ['contradicts-checkpoint', at, at]));
  });

  it('that was cut off behind a checkpoint, and looks whole, is found out by who kept a later one', async () => {
    const { lines, checkpoints } = original;
    const cut = fileOf([...lines.slice(0, 3), ...lines.slice(4, 8)]);
    expect(await found(cut)).toEqual([]);
    expect(await found(cut, [checkpoints[0]!])).toEqual([]);
    expect(await found(cut, [checkpoints[2]!])).toEqual([['truncated', 5, 6]]);
  });

  it('that was written anew is found out by who kept a checkpoint of the first', async () => {
    const other = logOf(suiteX25519, 'history written anew');
    expect(await found(fileOf(other.lines))).toEqual([]);
    expect(await found(fileOf(other.lines), [original.checkpoints[1]!])).toEqual([['contradicts-checkpoint', 4, 4]]);
  });

  it('whose beginning was given up begins after a checkpoint; what was kept of before cannot be compared', async () => {
    const { lines, entries, checkpoints } = original;
    const rest = [headerLine({ log, start: entries[1]! }), ...lines.slice(1, 4), ...lines.slice(6)];
    expect(await verify(fileOf(rest), [checkpoints[0]!])).toMatchObject({ findings: [], entries: 4, uncompared: 0 });
    const later = [headerLine({ log, start: entries[3]! }), ...lines.slice(2, 4), ...lines.slice(8)];
    expect(await verify(fileOf(later), [checkpoints[0]!])).toMatchObject({ findings: [], uncompared: 1 });
    const elsewhere = [headerLine({ log, start: entries[2]! }), ...lines.slice(2, 4), ...lines.slice(7)];
    expect(await found(fileOf(elsewhere))).toContainEqual(['checkpoint-missing', 1, 1]);
  });
});

it('a checkpoint that a gateway signed, or of another root, is none', () => {
  const { n, entries } = original;
  const { sequence, hash } = entries[0]!;
  const place = { number: 1, log, sequence, hash, timeS: nowS };
  const byGateway = { ...n.gateway, certificates: [n.gateway.certificate.der, n.certificates[0]!] };
  const check = { suite: suiteX25519, trustedRoots: [n.root] };
  expect(() => verifyAuditCheckpoint(check, signAuditCheckpoint(suiteX25519, byGateway, place))).toThrow(GridringError);
  const other = makeNeighbourhood(suiteP256, 1);
  const foreign = { suite: suiteX25519, trustedRoots: [other.root] };
  expect(() => verifyAuditCheckpoint(foreign, original.checkpoints[0]!)).toThrow(GridringError);
});

describe('an entry', () => {
  const facts = { timeS: 1, actor: 'a', action: 'test.do', subject: '', outcome: 'done', requestId: null } as const;

  it.each(['password', 'clientSecret', 'token', 'accessToken', 'userCode', 'authorization', 'privateKey', 'A', 'a b'])(
    'has no detail of the name %s',
    (name) => {
      expect(() => auditFacts({ ...facts, details: { [name]: 'x' } })).toThrow(TypeError);
    },
  );

  it('is one line of text that can be told from every other, whatever a caller wrote', () => {
    const written = auditFacts({
      ...facts,
      subject: 'a\r\n{"sequence":9}\u001b[2J\u2028\ud800\ufeff',
      details: { name: 'x'.repeat(1_000) },
    });
    expect(written.subject).toBe('a\ufffd\ufffd{"sequence":9}\ufffd[2J\ufffd\ufffd\ufffd');
    expect(written.details['name']).toHaveLength(300);
    expect(auditFacts(written)).toEqual(written);
  });
});
