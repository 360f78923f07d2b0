import { describe, expect, it } from 'vitest';
import { patchType } from '../../../servients/rest/directory-media.js';
import { expectProblem } from '../rest-server.js';
import { shows } from './statements.js';
import { lamp, n, otherGateway, type DirectoryUnderTest } from './under-test.js';

export function patchTests(d: DirectoryUnderTest): void {
  describe('a partial update', () => {
    it('replaces, adds and removes what a merge patch names, deep inside as well, and leaves the rest', async () => {
      shows('tdd-things-update-partial', 'tdd-things-update-partial-mergepatch', 'tdd-things-update-partial-resp');
      const links = [{ href: 'https://a.example/' }];
      await d.put(lamp('a', { support: 'https://s.example/', version: { instance: '1', model: '2' }, links }));
      const change = { title: 'Lantern', description: 'New', support: null, version: { model: null } };
      expect((await d.patch('urn:example:a', change)).status).toBe(204);
      const body = await d.thing('a');
      expect(body).toMatchObject({ title: 'Lantern', description: 'New', links });
      expect(body).toMatchObject({ version: { instance: '1' } });
      expect(body).not.toHaveProperty('support');
      expect(body).not.toHaveProperty('version.model');
    });

    it('that is empty renews a time to live, and leaves an absolute end as it is', async () => {
      await d.put(lamp('a', { registration: { ttl: 90 } }));
      await d.put(lamp('b', { registration: { expires: '2026-01-01T00:01:30+00:00' } }));
      d.backend.clockS += 60;
      for (const id of ['urn:example:a', 'urn:example:b']) expect((await d.patch(id, {})).status).toBe(204);
      const registrationOf = async (name: string) => (await d.thing(name))['registration'];
      expect(await registrationOf('a')).toMatchObject({ ttl: 90, expires: '2026-01-01T00:02:30.000Z' });
      expect(await registrationOf('b')).toMatchObject({ expires: '2026-01-01T00:01:30.000Z' });
      expect(await registrationOf('b')).not.toHaveProperty('ttl');
      await d.patch('urn:example:b', { registration: { expires: '2026-01-01T01:00:00Z' } });
      await d.patch('urn:example:a', { registration: { expires: '2026-01-02T00:00:00Z' } });
      expect(await registrationOf('a')).toMatchObject({ expires: '2026-01-01T00:02:30.000Z' });
      expect(await registrationOf('b')).toMatchObject({ expires: '2026-01-01T01:00:00.000Z' });
      await d.patch('urn:example:a', { registration: { ttl: null } });
      expect(await registrationOf('a')).not.toHaveProperty('expires');
    });

    it('that would spoil the TD is refused, with the fields, and changes nothing', async () => {
      shows('tdd-things-update-partial-partialtd');
      await d.put(lamp('a'));
      for (const [change, field] of [
        [{ title: null }, '(root)'],
        [{ security: 'basic_sc' }, 'security'],
        [{ id: 'urn:example:b' }, 'id'],
        [{ id: null }, 'id'],
        [{ registration: { ttl: -1 } }, 'registration.ttl'],
      ] as const) {
        const answer = await d.patch('urn:example:a', change);
        expectProblem(answer, 400, 'td-invalid');
        expect(answer.body).toMatchObject({ validationErrors: [{ field }] });
      }
      for (const body of ['[]', '"x"', 'null']) {
        expectProblem(await d.patch('urn:example:a', body), 400, 'patch-malformed');
      }
      expectProblem(await d.patch('urn:example:a', '{"x":'.repeat(5_000)), 400, 'body-malformed');
      expectProblem(await d.patch('urn:example:nobody', {}), 404, 'td-unknown');
      expectProblem(await d.patch('urn:example:a', { title: 'Mine' }, {}, otherGateway), 403, 'refused');
      expect(await d.thing('a')).toMatchObject({ title: 'Lamp' });
    });

    it('is taken as a merge patch alone, which is taken nowhere else', async () => {
      shows('tdd-things-update-partial-contenttype');
      await d.put(lamp('a'));
      for (const type of ['application/json-patch+json', 'application/json', 'application/td+json']) {
        const answer = await d.patch('urn:example:a', { title: 'x' }, { 'content-type': type });
        expectProblem(answer, 415, 'media-type-unsupported');
      }
      const whole = { as: n.gateway, body: lamp('a', { title: 'x' }), headers: { 'content-type': patchType } };
      expectProblem(await d.backend.call('PUT', '/things/urn:example:a', whole), 415, 'media-type-unsupported');
      expect(await d.thing('a')).toMatchObject({ title: 'Lamp' });
    });

    it('is made to what was read, where it says so', async () => {
      await d.put(lamp('a'));
      const tag = (await d.get('/things/urn:example:a')).headers.get('etag')!;
      expect((await d.patch('urn:example:a', { title: 'One' }, { 'if-match': tag })).status).toBe(204);
      expectProblem(await d.patch('urn:example:a', { title: 'Two' }, { 'if-match': tag }), 412, 'precondition-failed');
      expect(await d.thing('a')).toMatchObject({ title: 'One' });
    });

    it('of what has to be there is refused where there is nothing, also as a whole', async () => {
      const whole = { as: n.gateway, body: lamp('a'), headers: { 'if-match': '*' } };
      const put = () => d.backend.call('PUT', '/things/urn:example:a', whole);
      expectProblem(await put(), 412, 'precondition-failed');
      expectProblem(await d.patch('urn:example:a', {}, { 'if-match': '*' }), 404, 'td-unknown');
      await d.put(lamp('a'));
      expect((await put()).status).toBe(204);
    });
  });
}
