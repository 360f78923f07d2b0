/** What the command line prints came from peers in part, and a terminal does what control characters say. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { VerificationError } from '../../crypto/errors.js';
import { printLine, reportError, table } from '../../servients/cli/output.js';

afterEach(() => {
  vi.restoreAllMocks();
});

describe('a text that somebody else chose', () => {
  it('moves no cursor, renames no window and forges no line of a table', () => {
    const written: string[] = [];
    for (const stream of [process.stdout, process.stderr]) {
      vi.spyOn(stream, 'write').mockImplementation((text) => written.push(String(text)) > 0);
    }
    printLine(
      table([
        ['TITLE', 'ID'],
        ['\u001b]0;owned\u0007 lamp\nurn:forged  ok', 'urn:a'],
      ]),
    );
    reportError(new VerificationError('refused', 'no \u009b2J'), false);
    expect(written).toEqual([
      `TITLE${' '.repeat(25)}  ID\n\ufffd]0;owned\ufffd lamp\ufffdurn:forged  ok  urn:a\n`,
      'gridring: no \ufffd2J [refused]\n',
    ]);
  });
});
