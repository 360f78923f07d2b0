import { Writable } from 'node:stream';
import { pino } from 'pino';
import { expect, it } from 'vitest';
import { Refusals } from '../../servients/runtime.js';

it('a flood of refusals fills no log, and another code has its line all the same', () => {
  const lines: unknown[] = [];
  const sink = new Writable({
    write: (line: Buffer, _encoding, done) => {
      lines.push(JSON.parse(line.toString()));
      done();
    },
  });
  const { coap } = new Refusals(pino({ base: null, timestamp: false }, sink));
  for (let i = 0; i < 1_000; i++) coap.refused('signature-invalid');
  coap.refused('epoch-stale');
  expect(lines.length).toBeGreaterThan(1);
  expect(lines.length).toBeLessThan(50);
  expect(lines[0]).toMatchObject({ code: 'signature-invalid', binding: 'coap' });
  expect(lines.at(-1)).toMatchObject({ code: 'epoch-stale' });
});
