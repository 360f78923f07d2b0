import { describe, expect, it } from 'vitest';
import { nowS } from '../../support/neighbourhood.js';
import { expectProblem, tokenFor } from '../rest-server.js';
import { shows } from './statements.js';
import { anonymous, lamp, n, otherGateway, pathOf, type Td, DirectoryUnderTest } from './under-test.js';

export function ownerTests(d: DirectoryUnderTest): void {
  describe('who may write', () => {
    const path = pathOf('urn:example:a');

    it('nobody without a token of a gateway', async () => {
      shows('tdd-things-read-only-auth');
      await d.put(lamp('a'));
      const merge = { 'content-type': 'application/merge-patch+json' };
      expectProblem(await d.backend.call('PUT', path, { body: lamp('a') }), 401, 'token-missing');
      expectProblem(await d.backend.call('POST', '/things', { body: anonymous }), 401, 'token-missing');
      expectProblem(await d.backend.call('PATCH', path, { body: {}, headers: merge }), 401, 'token-missing');
      expectProblem(await d.backend.call('DELETE', path), 401, 'token-missing');
      const expired = await tokenFor(n, n.gateway, { timeS: nowS - 3_600 });
      expectProblem(await d.backend.call('DELETE', path, { token: expired }), 401, 'token-expired');
      for (const other of [n.operator, n.utility, n.meters[0]!, n.authority, n.backend]) {
        expectProblem(await d.put(lamp('a'), other), 403, 'refused');
      }
    });

    it('nobody over an entry of somebody else, nor over the backend’s own', async () => {
      await d.put(lamp('a'));
      expectProblem(await d.put(lamp('a', { title: 'Mine' }), otherGateway), 403, 'refused');
      expectProblem(await d.write('DELETE', path, undefined, otherGateway), 403, 'refused');
      const own = await d.get(pathOf('urn:gridring:backend:backend-1'));
      expectProblem(await d.put(own.body as Td), 403, 'refused');
      expect(await d.thing('a')).toMatchObject({ title: 'Lamp' });
    });

    it('only gateways that the membership list names, where there is one', async () => {
      const listed = new DirectoryUnderTest(d.open);
      await listed.start();
      const publish = (list: ReturnType<typeof n.list>): Promise<unknown> =>
        listed.backend.call('POST', '/api/v1/memberships', { body: n.bundle(list) });
      await publish(n.list());
      expect((await listed.put(lamp('a'))).status).toBe(201);
      const list = n.list({ version: 2 });
      const entries = list.entries.filter(({ certHash }) => certHash !== n.gateway.certHash);
      await publish({ ...list, entries });
      expectProblem(await listed.put(lamp('b')), 403, 'refused');
      expectProblem(await listed.write('DELETE', path), 403, 'refused');
      await listed.backend.remove();
    });
  });

  describe('who may read', () => {
    it.each(['/things', '/things/urn:gridring:backend:backend-1', '/events'])(
      '%s: everybody where the directory is open, else who shows a token; but only one that counts',
      async (path) => {
        const answer = await d.backend.call('HEAD', path);
        expect(answer.status).toBe(d.open ? 200 : 401);
        expect((await d.backend.call('HEAD', path, { token: 'a.b.c' })).status).toBe(401);
        expect((await d.call('HEAD', path)).status).toBe(200);
      },
    );
  });
}
