/** The directory (WoT Discovery §7.3), open and with tokens, and which statements of the Recommendation that shows. */
import { describe, it } from 'vitest';
import '../support/processes.js';
import { eventTests } from './directory/events.js';
import { lifetimeTests } from './directory/lifetime.js';
import { listTests } from './directory/list.js';
import { ownerTests } from './directory/owners.js';
import { patchTests } from './directory/patches.js';
import { refusalTests } from './directory/refusals.js';
import { representationTests } from './directory/representations.js';
import { searchTests } from './directory/search.js';
import { expectTable } from './directory/statements.js';
import { thingTests } from './directory/things.js';
import { directoryUnderTest, modes } from './directory/under-test.js';

describe.each(modes)('%s', (_mode, open) => {
  const directory = directoryUnderTest(open);
  for (const tests of [
    thingTests,
    patchTests,
    refusalTests,
    representationTests,
    lifetimeTests,
    listTests,
    ownerTests,
    eventTests,
    searchTests,
  ]) {
    tests(directory);
  }
});

describe('docs/directory.md', () => {
  it('says of each statement which tests show it', () => {
    expectTable(modes.map(([mode]) => mode));
  });
});
