/** The Thing Description playground of Eclipse Thingweb as the judge of ours, and ours held against its examples. */
import { createRequire } from 'node:module';
import { describe, expect, test } from 'vitest';
import { MalformedError } from '../../crypto/errors.js';
import { parseStrictJson } from '../../servients/bindings/strict-json.js';
import { makeTd, makeThing, makeUncallableTd } from '../../td/make-td.js';
import { validateTd } from '../../td/validate-td.js';
import { playgroundExamples, vendorTds } from './corpus.js';
import { withForms } from './with-forms.js';

interface Verdict {
  readonly report: Readonly<Record<'json' | 'schema' | 'additional', string>>;
  readonly details: Readonly<Record<string, string | null>>;
}
const require = createRequire(import.meta.url);
const { tdValidator } = require('@thing-description-playground/core') as {
  readonly tdValidator: (td: string, log: () => void, checks: Readonly<Record<string, boolean>>) => Promise<Verdict>;
};

/** Without what would fetch contexts and models, and without its advice to write out every default. */
const offline = { checkDefaults: false, checkJsonLd: false, checkTmConformance: false };

/** What the playground finds wrong or warns of, by the names of its checks. */
async function findingsOf(td: object): Promise<readonly string[]> {
  const { report, details } = await tdValidator(JSON.stringify(td), () => undefined, offline);
  const verdicts = Object.entries({ ...report, ...details });
  return verdicts.filter(([, verdict]) => verdict === 'failed' || verdict === 'warning').map(([check]) => check);
}

const instance = (kind: string) => ({ id: `urn:gridring:${kind}:x1`, title: `The ${kind}`, version: '0.1.0' });
const routed = { base: 'https://grid.example:8443/', tokenAlgorithm: 'EdDSA' } as const;

describe('the playground finds nothing wrong with', () => {
  test.each<[string, object]>([
    ['a meter at CoAP', withForms(makeThing('meter', instance('meter')), 'coap://[2001:db8::1]:5683/x1/')],
    ['a gateway at HTTP', withForms(makeThing('gateway', instance('gateway')), 'http://192.0.2.1:8080/x1/')],
    ['a meter that nobody can call', makeUncallableTd(instance('meter'))],
    ['the backend', makeTd('backend', { ...instance('backend'), ...routed })],
    ['the directory', makeTd('directory', { ...instance('directory'), ...routed })],
  ])('%s', async (_, td) => {
    expect(await findingsOf(td)).toEqual([]);
  });

  test('what stands for the Things of vendors, but what it only warns of', async () => {
    const warnings = [];
    for (const [after, td] of vendorTds) {
      const findings = await findingsOf(td);
      if (findings.length > 0) warnings.push([after.split(/[ ,]/)[0], findings]);
    }
    expect(warnings).toEqual([
      ['WebThings', ['additional', 'readWriteOnly']],
      ['TinyIoT', ['additional', 'propItems']],
    ]);
  });
});

describe("of the playground's examples", () => {
  const accepts = (text: string): boolean => validateTd(parseStrictJson(Buffer.from(text))).valid;

  test('the valid ones are valid here, those that it only warns of as well', () => {
    for (const kind of ['valid', 'warning'] as const) {
      const examples = playgroundExamples(kind);
      expect(examples.length).toBeGreaterThan(5);
      expect(examples.filter(([, text]) => !accepts(text)).map(([file]) => file)).toEqual([]);
    }
  });

  /** Names twice in an object are refused before there is a Thing Description at all: as JSON that means two things. */
  const refusedAsJson = ['duplicatePropertyAffordanceNames.json', 'duplicateSecurityDefinitions.json'];
  const acceptedHere: Readonly<Record<string, string>> = {
    'multipleRelType.json':
      'TD 1.1 and its schema do not limit a Thing to one model; that is a check of the playground',
    'usingTM.json':
      'it breaks its Thing Model, which would have to be fetched: a directory fetches nothing it is told of',
  };

  test.each(playgroundExamples('invalid'))('%s is refused, with what is wrong in it', (file, text) => {
    if (refusedAsJson.includes(file)) {
      expect(() => accepts(text)).toThrow(MalformedError);
      return;
    }
    const verdict = validateTd(parseStrictJson(Buffer.from(text)));
    expect(verdict.valid).toBe(Object.hasOwn(acceptedHere, file));
    if (!verdict.valid) expect(verdict.errors[0]).toMatchObject({ field: expect.stringMatching(/./) as string });
  });
});
