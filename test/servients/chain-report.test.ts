import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromBase64Url, toBase64Url, toHex } from '../../crypto/bytes.js';
import { isWhole } from '../../crypto/envelope/audit.js';
import type { Checkpoint } from '../../crypto/envelope/checkpoint.js';
import { parseEntry } from '../../crypto/envelope/entry.js';
import { encodeUpload } from '../../crypto/envelope/reading.js';
import { newSealingState, seal, sealGap, type SealingState, type SealingStep } from '../../crypto/envelope/sealing.js';
import { suiteP256 } from '../../crypto/suite-node.js';
import { ChainClient } from '../../servients/chain-client.js';
import { auditAgainst, auditDays } from '../../servients/chain-report.js';
import { findingsLines } from '../../servients/cli/chain-text.js';
import { encodeCheckpointFile, suiteOfCheckpointFile, verifyCheckpointFile } from '../../servients/checkpoint-file.js';
import { at, flipped, refusal } from '../support/forge.js';
import { makeNeighbourhood, nowS, seededRandom } from '../support/neighbourhood.js';
import { activeKey, agree } from '../support/ring.js';
import { audience, issuingOf, startBackend, type TestBackend } from './rest-server.js';

/** Three days of a meter, three readings each; on the second it is unplugged for an hour. Two checkpoints close them. */
const n = makeNeighbourhood(suiteP256, 2);
const founding = agree(n);
const meter = at(n.meters, 0);
const meterId = meter.certificate.id;
const dayS = 86_400;
const firstDay = Math.floor(nowS / dayS) + 1;
const { kid, signer, certHash } = meter;
const context = {
  ...{ suite: n.suite, self: { id: meterId, kid, signer, certHash }, membership: n.membership() },
  ...{ activeKey: activeKey(at(founding.players, 0)).name, random: seededRandom('audit') },
};

interface Item {
  readonly sequence: number;
  readonly message: string;
}
type Lie = (entries: readonly Item[]) => readonly Item[];
const honest: Lie = (entries) => entries;

let backend: TestBackend;
let middle: Server;
let lie = honest;
/** What the backend says that it has given up. */
let givenUp: readonly object[] = [];
let client: ChainClient;
/** The messages of the chain, by sequence. */
const chain: Uint8Array[] = [new Uint8Array(0)];

function makeChain(): { readonly grants: readonly Uint8Array[]; readonly readings: readonly Uint8Array[] } {
  let state = newSealingState;
  const grants: Uint8Array[] = [];
  const take = (step: (before: SealingState) => SealingStep): void => {
    const { state: after, items } = step(state);
    state = after;
    for (const { kind, message } of items) (kind === 'grant' ? grants : chain).push(message);
  };
  for (const day of [0, 1, 2]) {
    for (const hour of [1, 2, 3]) {
      const timeS = (firstDay + day) * dayS + hour * 3_600;
      const base = { timeS, intervalS: 60, energyTotalWh: hour, source: 'replay', missing: true } as const;
      const gap = { cause: 'source-silent', sinceS: timeS - 3_600, untilS: timeS - 60, quantities: null } as const;
      if (day === 1 && hour === 2) take((before) => sealGap(context, before, gap));
      take((before) => seal(context, before, base));
    }
  }
  return { grants, readings: chain.slice(1) };
}

/** A backend that shows other chains than it has. */
const startMiddle = (): Server =>
  createServer((request, response) => {
    void (async () => {
      const answer = await backend.request('GET', request.url ?? '', { as: n.utility });
      const body = (await answer.json()) as { readonly entries?: readonly Item[]; readonly dropped?: unknown };
      const shown = body.entries ? { entries: lie(body.entries) } : body.dropped ? { dropped: givenUp } : body;
      response.writeHead(answer.status, { 'content-type': 'application/json' }).end(JSON.stringify(shown));
    })();
  }).listen(0, '127.0.0.1');

beforeAll(async () => {
  backend = await startBackend(n);
  await backend.call('POST', '/api/v1/memberships', { body: n.bundle(n.list()) });
  await backend.call('POST', '/api/v1/epochs', { body: founding.published.record, as: n.gateway });
  const body = encodeUpload(makeChain());
  const answer = await backend.call('POST', '/api/v1/readings', { body, as: n.gateway });
  expect(answer.status).toBe(200);
  middle = startMiddle();
  await once(middle, 'listening');
  const url = `http://127.0.0.1:${(middle.address() as AddressInfo).port}`;
  const { utility } = n;
  client = new ChainClient(
    {
      ...utility,
      suite: n.suite,
      certificates: [utility.certificate.der, issuingOf(n).der],
      root: n.root,
      backend: { url, audience },
    },
    () => nowS,
  );
});
afterAll(async () => {
  middle.closeAllConnections();
  middle.close();
  await backend.remove();
});

async function under<T>(told: Lie, check: () => Promise<T>): Promise<T> {
  lie = told;
  try {
    return await check();
  } finally {
    lie = honest;
  }
}

const all = () => auditDays(client, meterId, {});
const without =
  (...sequences: readonly number[]): Lie =>
  (entries) =>
    entries.filter(({ sequence }) => !sequences.includes(sequence));
const kept = (): Checkpoint => parseEntry(n.suite, chain[9]!) as Checkpoint;

describe('the chain that a backend shows', () => {
  it('is proven complete from ciphertext alone, and names what the meter did not measure', async () => {
    const findings = await all();
    expect(findings).toMatchObject({
      entries: 12,
      readings: 9,
      lastSequence: 12,
      missing: [],
      broken: [],
      miscounted: [],
    });
    expect(isWhole(findings)).toBe(true);
    expect(findings.reports).toMatchObject([{ sequence: 6, cause: 'source-silent', quantities: null }]);
    expect(findings.checkpoint).toMatchObject({ sequence: 9, day: firstDay + 1, first: 5, readings: 3 });
    const [line, reported] = findingsLines(meterId, findings);
    expect(line).toContain('complete: 9 readings, 12 entries up to 12; proven to 9');
    expect(reported).toMatch(/reported {2}.*source-silent, everything/);
  });

  it.each([
    ['a reading', [7], [{ first: 7, last: 7 }]],
    ['a gap report', [6], [{ first: 6, last: 6 }]],
    ['a checkpoint', [4], [{ first: 4, last: 4 }]],
    [
      'several',
      [1, 2, 3, 8, 10],
      [
        { first: 1, last: 3 },
        { first: 8, last: 8 },
        { first: 10, last: 10 },
      ],
    ],
  ])('has a hole where %s is left out, and it is named', async (_, sequences, missing) => {
    const findings = await under(without(...sequences), all);
    expect(findings.missing).toEqual(missing);
    expect(isWhole(findings)).toBe(false);
    expect(findings.miscounted).toEqual([]);
  });

  it('proves nothing when it is empty', async () => {
    expect(isWhole(await under(() => [], all))).toBe(false);
  });

  it('is refused when an entry is altered, of another meter, or out of order', async () => {
    const altered: Lie = ([first, ...others]) => [
      { ...first!, message: toBase64Url(flipped(fromBase64Url(first!.message), 800)) },
      ...others,
    ];
    await expect(under(altered, all)).rejects.toThrow();
    await expect(under((entries) => entries.toReversed(), all)).rejects.toMatchObject({ code: 'chain-order' });
  });

  it('can be looked at day by day: days end at checkpoints', async () => {
    const days = async (from?: number, to?: number) =>
      auditDays(client, meterId, { from: from && firstDay + from, to: to === undefined ? to : firstDay + to });
    expect(await days(undefined, 0)).toMatchObject({ entries: 4, readings: 3, lastSequence: 4 });
    expect(await days(1, 1)).toMatchObject({ entries: 5, readings: 3, lastSequence: 9, reports: [{ sequence: 6 }] });
    expect(await days(2)).toMatchObject({ entries: 3, reports: [], checkpoint: null });
    const hidden = await under(
      (entries) => entries.filter(({ sequence }) => sequence !== 8),
      () => days(1, 1),
    );
    expect(hidden.missing).toEqual([{ first: 8, last: 8 }]);
  });
});

describe('a chain of which the backend has given up a part', () => {
  const hashOf = (sequence: number): string => toHex(parseEntry(n.suite, chain[sequence]!).hash);
  const stretch = (first: number, last: number, hash = hashOf(last)): object => ({
    ...{ first, last, hash },
    previousHash: first === 1 ? '00'.repeat(32) : hashOf(first - 1),
  });
  async function without1to(last: number, told: readonly object[]) {
    givenUp = told;
    try {
      const hidden: Lie = (entries) => entries.filter(({ sequence }) => sequence > last);
      return await under(hidden, async () => ({
        findings: await all(),
        comparison: await auditAgainst(client, kept(), meterId),
      }));
    } finally {
      givenUp = [];
    }
  }

  it('is whole where what is left fits to what was given up, and that is named', async () => {
    const { findings, comparison } = await without1to(4, [stretch(1, 4)]);
    expect(findings).toMatchObject({ entries: 8, missing: [], broken: [], givenUp: [{ first: 1, last: 4 }] });
    expect(isWhole(findings)).toBe(true);
    expect(findingsLines(meterId, findings)[1]).toContain('given up  sequences 1 to 4 (4), by the backend’s policy');
    expect(comparison.checkpoint).toBe('same');
  });

  it('is broken where what is left does not follow, and has a hole beside what is said to be given up', async () => {
    expect((await without1to(4, [stretch(1, 4, 'ab'.repeat(32))])).findings.broken).toEqual([5]);
    expect((await without1to(4, [stretch(1, 3)])).findings.missing).toEqual([{ first: 4, last: 4 }]);
    await expect(without1to(4, [{ ...stretch(1, 4), last: 0 }])).rejects.toMatchObject({ code: 'message-malformed' });
  });

  it('can no longer be held against a checkpoint of that part', async () => {
    const { findings, comparison } = await without1to(10, [stretch(1, 10)]);
    expect(isWhole(findings)).toBe(true);
    expect(comparison.checkpoint).toBe('given-up');
  });
});

describe('a checkpoint that a household keeps', () => {
  const file = (): Uint8Array => encodeCheckpointFile(chain[9]!, n.bundle(n.list()));
  const check = { suite: n.suite, trustedRoots: [n.root], nowS };

  it('is checked with nothing but the root, also when the list is over', () => {
    for (const later of [0, 10 * 365 * dayS]) {
      const { checkpoint, meter: signer } = verifyCheckpointFile({ ...check, nowS: nowS + later }, file());
      expect(checkpoint).toEqual(kept());
      expect(signer.id).toBe(meterId);
    }
    expect(suiteOfCheckpointFile(file())).toBe(n.suite);
    expect(refusal(() => verifyCheckpointFile(check, flipped(file(), 1_000)))).toMatch(/./);
  });

  it('shows later whether the backend still has what the meter signed', async () => {
    expect(await auditAgainst(client, kept(), toHex(certHash))).toMatchObject({
      checkpoint: 'same',
      findings: { entries: 9, missing: [] },
    });
    const cut: Lie = (entries) => entries.filter(({ sequence }) => sequence < 8);
    const { checkpoint, findings } = await under(cut, () => auditAgainst(client, kept(), meterId));
    expect([checkpoint, findings.missing]).toEqual(['other', [{ first: 8, last: 9 }]]);
    expect(isWhole(await under(cut, all))).toBe(true);
  });
});
