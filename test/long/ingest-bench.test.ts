import { describe, expect, it } from 'vitest';
import type { IngestRow } from '../../bench/ingest/measure.js';
import { runBench } from '../support/processes.js';

describe('npm run bench -- ingest', () => {
  it('stores every reading of its load, in full and in last batches, and says beside what', async () => {
    const args = [
      '--suite',
      'p256',
      '--readings',
      '25',
      '--batches',
      '10',
      '--connections',
      '2',
      '--databases',
      'sqlite',
      '--json',
    ];
    const { code, out, errors } = await runBench('ingest', ...args);
    expect(errors).toBe('');
    expect(code).toBe(0);
    const { ingest } = JSON.parse(out) as { readonly ingest: readonly IngestRow[] };
    expect(ingest).toMatchObject([{ suite: 'p256', database: 'sqlite', backends: 1, batch: 10, readings: 25 }]);
    for (const { perSecond, rawPerSecond, cpuUs, rssMb, p99Ms } of ingest) {
      for (const number of [perSecond, rawPerSecond, cpuUs, rssMb, p99Ms]) expect(number).toBeGreaterThan(0);
    }
  });
});
