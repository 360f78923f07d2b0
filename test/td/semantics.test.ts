/** What our Thing Descriptions mean to who reads them as RDF, with the contexts that are here and nothing fetched. */
import { createRequire } from 'node:module';
import { describe, expect, test } from 'vitest';
import { directoryMember, proofMember } from '../../crypto/registration.js';
import { loadContext } from '../../servients/search/contexts.js';
import { belongsTo, makeTd, makeThing, makeUncallableTd, type ThingKind } from '../../td/make-td.js';
import { withForms } from './with-forms.js';

interface JsonLd {
  readonly toRDF: (document: object, options: object) => Promise<readonly Quad[]>;
}
interface Quad {
  readonly subject: { readonly value: string };
  readonly predicate: { readonly value: string };
  readonly object: { readonly value: string };
}
const require = createRequire(import.meta.url);
const jsonld = require('jsonld') as JsonLd;

const saref = 'https://saref.etsi.org/core/';
const ours = 'https://gridring.example/ns#';
const a = 'http://www.w3.org/1999/02/22-rdf-syntax-ns#type';
const td = 'https://www.w3.org/2019/wot/td#';
const idOf = (kind: string): string => `urn:gridring:${kind}:x1`;
const instance = (kind: string, links = [belongsTo('coap://192.0.2.1/.well-known/wot')]) => ({
  ...{ id: idOf(kind), title: kind, version: '1.2.3' },
  links,
});
const routed = { base: 'https://grid.example/', tokenAlgorithm: 'EdDSA' } as const;

const described: Readonly<Record<ThingKind | 'sleeper', object>> = {
  meter: withForms(makeThing('meter', instance('meter')), 'coap://[2001:db8::1]/x1/'),
  sleeper: makeUncallableTd(instance('meter')),
  gateway: { ...withForms(makeThing('gateway', instance('gateway')), 'coap://192.0.2.1/'), [directoryMember]: 'urn:d' },
  backend: makeTd('backend', { ...instance('backend', []), ...routed }),
  directory: makeTd('directory', { ...instance('directory'), ...routed }),
};

/** As subject, predicate, object. */
async function triplesOf(document: object): Promise<readonly (readonly [string, string, string])[]> {
  const quads = await jsonld.toRDF(document, { documentLoader: loadContext });
  return quads.map(({ subject, predicate, object }) => [subject.value, predicate.value, object.value]);
}
const classesOf = (triples: Awaited<ReturnType<typeof triplesOf>>, kind: string): readonly string[] =>
  triples.filter(([subject, predicate]) => subject === idOf(kind) && predicate === a).map(([, , of]) => of);

describe('as RDF', () => {
  test('a meter is a meter of SAREF that measures power and energy, asleep or not', async () => {
    for (const meter of [described.meter, described.sleeper]) {
      const triples = await triplesOf(meter);
      expect(classesOf(triples, 'meter')).toEqual([`${saref}Meter`]);
      const measured = triples.filter(([, predicate]) => predicate === `${saref}measuresProperty`);
      expect(measured.map(([, , of]) => of)).toEqual([`${saref}Power`, `${saref}Energy`]);
    }
    const triples = await triplesOf(described.meter);
    const annotated = triples
      .filter(([, predicate, of]) => predicate === a && of.startsWith(saref))
      .map(([, , of]) => of);
    expect(new Set(annotated)).toEqual(new Set(['Meter', 'State', 'Command', 'Measurement'].map((of) => saref + of)));
    const unit = 'http://www.ontology-of-units-of-measure.org/resource/om-2/second-Time';
    expect(triples.some(([, , of]) => of === unit)).toBe(true);
  });

  test('gateway, backend and directory are what they are', async () => {
    const classes = { gateway: [`${saref}Device`, `${ours}Gateway`], backend: [`${ours}Backend`] };
    for (const [kind, of] of Object.entries(classes)) {
      expect(classesOf(await triplesOf(described[kind as ThingKind]), kind)).toEqual(of);
    }
    const directory = await triplesOf(described.directory);
    expect(classesOf(directory, 'directory')).toEqual([
      'https://www.w3.org/2022/wot/discovery-ontology#ThingDirectory',
    ]);
  });

  test('a proof, and the directory that it is for, are terms of ours', async () => {
    const triples = await triplesOf({ ...described.gateway, [proofMember]: 'AA' });
    expect(triples).toContainEqual([idOf('gateway'), `${ours}proof`, 'AA']);
    expect(triples).toContainEqual([idOf('gateway'), `${ours}directory`, 'urn:d']);
  });

  test.each(Object.entries(described))(
    'a %s uses no class and no prefix that its contexts do not define',
    async (_, document) => {
      const triples = await triplesOf(document);
      expect(triples.some(([, predicate]) => predicate === `${td}title`)).toBe(true);
      const iris = triples.flatMap(([, predicate, of]) => (predicate === a ? [predicate, of] : [predicate]));
      expect(iris.filter((iri) => !/^https?:\/\/[a-z\d.-]+\/.+/.test(iri))).toEqual([]);
      const text = JSON.stringify(document);
      const prefixes = [...text.matchAll(/"(?:@type|unit)":\[?"(\w+):/g)].map(([, prefix]) => prefix);
      const { '@context': context } = document as { readonly '@context': readonly unknown[] };
      const defined = context.filter((part) => typeof part === 'object').flatMap((part) => Object.keys(part as object));
      expect(defined).toEqual(expect.arrayContaining(prefixes));
    },
  );
});
