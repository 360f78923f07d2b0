import { describe, expect, it } from 'vitest';
import { limits } from '../../../crypto/limits.js';
import { expectFits, expectProblem, type Answer } from '../rest-server.js';
import { shows } from './statements.js';
import { anonymous, lamp, n, pathOf, type DirectoryUnderTest } from './under-test.js';

const errorsOf = ({ body }: Answer): readonly { readonly field: string; readonly description: string }[] => {
  expectFits('problem', body);
  return (body as { readonly validationErrors: readonly { field: string; description: string }[] }).validationErrors;
};

export function refusalTests(d: DirectoryUnderTest): void {
  describe('what is refused, with the fields that are wrong', () => {
    it('what is no Thing Description', async () => {
      shows('tdd-validation-syntactic', 'tdd-validation-jsonschema', 'tdd-validation-result');
      shows('tdd-validation-response', 'tdd-validation-response-utf-8');
      const answer = await d.put(lamp('a', { title: undefined }));
      expectProblem(answer, 400, 'td-invalid');
      expect(answer.headers.get('content-type')).toBe('application/problem+json; charset=utf-8');
      expect(errorsOf(answer)).toEqual([{ field: '(root)', description: 'title is required' }]);
      const meaning = await d.put(lamp('a', { security: 'bäsic_sc' }));
      expect(errorsOf(meaning)).toEqual([{ field: 'security', description: 'bäsic_sc is not in securityDefinitions' }]);
      for (const nothing of ['[]', '"td"', '5', 'null', '{}']) {
        expectProblem(await d.write('PUT', pathOf('urn:example:a'), nothing), 400, 'td-invalid');
      }
    });

    it('a Thing Model in a Thing Description’s place', async () => {
      const answer = await d.put(lamp('a', { '@type': 'tm:ThingModel' }));
      expectProblem(answer, 400, 'td-invalid');
      expect(errorsOf(answer)).toEqual([{ field: '@type', description: 'belongs to a Thing Model' }]);
    });

    it('an id that is another than the address, an anonymous one at an address, and one with an id at none', async () => {
      shows('tdd-things-create-known-vs-anonymous', 'tdd-things-create-known-td', 'tdd-things-create-anonymous-td');
      const answers = [
        await d.write('PUT', pathOf('urn:example:b'), lamp('a')),
        await d.write('PUT', pathOf('urn:example:b'), anonymous),
        await d.write('POST', '/things', lamp('a')),
      ];
      for (const answer of answers) {
        expectProblem(answer, 400, 'td-invalid');
        expect(errorsOf(answer)).toMatchObject([{ field: 'id' }]);
      }
    });

    it('registration information that is none', async () => {
      shows('tdd-validation-jsonschema', 'tdd-absolute-time');
      for (const ttl of [0, -1, '60', null, 1e300]) {
        const answer = await d.put(lamp('a', { registration: { ttl } }));
        expectProblem(answer, 400, 'td-invalid');
        expect(errorsOf(answer)).toMatchObject([{ field: 'registration.ttl' }]);
      }
      for (const expires of ['tomorrow', '2025-12-31T23:59:59Z', '2027-01-01', '2027-01-01T00:00:00', 5]) {
        expect(errorsOf(await d.put(lamp('a', { registration: { expires } })))).toMatchObject([
          { field: 'registration.expires' },
        ]);
      }
      expect(errorsOf(await d.put(lamp('a', { registration: 'now' })))).toMatchObject([{ field: 'registration' }]);
    });

    it('bytes that are too many, no JSON, or of another type', async () => {
      const large = lamp('a', { description: 'x'.repeat(limits.thingDescription) });
      expectProblem(await d.put(large), 413, 'too-large');
      expectProblem(await d.write('PUT', pathOf('urn:example:a'), '{"id":'), 400, 'body-malformed');
      const turtle = { as: n.gateway, body: '<a> <b> <c>.', headers: { 'content-type': 'text/turtle' } };
      expectProblem(await d.backend.call('PUT', pathOf('urn:example:a'), turtle), 415, 'media-type-unsupported');
      expectProblem(await d.backend.call('PUT', pathOf('urn:example:a'), { as: n.gateway }), 400, 'td-invalid');
    });

    it('questions that the directory does not understand', async () => {
      shows('tdd-http-unsupported-feature');
      for (const query of ['sort_by=title', 'format=xml', 'limit=0', 'limit=x', 'offset=-1', 'limit=1&limit=2']) {
        expectProblem(await d.get(`/things?${query}`), 400, 'input-invalid');
      }
      expectProblem(await d.get('/search/graphql?query=x'), 404, 'no-such-resource');
    });

    it('each with a problem document in UTF-8', async () => {
      shows('tdd-http-error-response', 'tdd-http-error-response-utf-8');
      for (const [method, path, status] of [
        ['GET', '/things/urn:example:none', 404],
        ['GET', '/things/%zz', 400],
        ['PUT', '/things', 405],
        ['POST', '/things/urn:example:a', 405],
        ['DELETE', '/things', 405],
        ['PUT', '/things/urn:example:a', d.open ? 401 : 400],
        ['GET', '/things?limit=0', 400],
        ['GET', '/events/none', 400],
        ['GET', '/search/jsonpath', 400],
        ['POST', '/search/sparql', 415],
      ] as const) {
        const { status: given, headers, body } = await d.call(method, path, {}, method === 'GET' ? undefined : '{}');
        expect([method, path, given]).toEqual([method, path, status]);
        expect(headers.get('content-type')).toBe('application/problem+json; charset=utf-8');
        expectFits('problem', body);
      }
    });
  });
}
