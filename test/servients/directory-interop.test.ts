/** The directory with software and Thing Descriptions that are not ours, read with a token and without. */
import { HttpClientFactory } from '@node-wot/binding-http';
import { Servient } from '@node-wot/core';
import { describe, expect, it } from 'vitest';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { validateTd } from '../../td/validate-td.js';
import { foreignTds, playgroundExamples, type Td } from '../td/corpus.js';
import { makeNeighbourhood, nowS } from '../support/neighbourhood.js';
import { expectProblem, startBackend, tokenFor } from './rest-server.js';

const n = makeNeighbourhood(suiteX25519, 2);

/** Its own, unless it has none or several of these Things have it. */
const ids = foreignTds.map(([, { id }], i) =>
  typeof id === 'string' && foreignTds.filter(([, td]) => td['id'] === id).length === 1 ? id : `urn:example:${i}`,
);

describe.each([true, false])('a directory that is open: %s', (open) => {
  it('takes Thing Descriptions of others unchanged and no invalid ones, and an unmodified node-wot finds them', async () => {
    expect(foreignTds.length).toBeGreaterThan(50);
    const backend = await startBackend(n, { directory: { open } });
    const servient = new Servient();
    servient.addClientFactory(new HttpClientFactory());
    try {
      const wot = await servient.start();
      for (const [i, [, td]] of foreignTds.entries()) {
        const id = ids[i]!;
        const path = `/things/${encodeURIComponent(id)}`;
        expect((await backend.call('PUT', path, { as: n.gateway, body: { ...td, id } })).status).toBe(201);
        const { body } = await backend.call('GET', path, { as: n.gateway });
        const { '@context': context, registration, ...rest } = body as Td;
        const { '@context': own, ...described } = td;
        expect([rest, registration]).toEqual([{ ...described, id }, expect.any(Object)]);
        expect([context].flat()).toEqual([...[own].flat(), 'https://www.w3.org/2022/wot/discovery']);
      }
      for (const [file, text] of playgroundExamples('invalid')) {
        const td = JSON.parse(text) as Td;
        if (validateTd(td).valid) continue;
        const answer = await backend.call('POST', '/things', { as: n.gateway, body: { ...td, id: undefined } });
        expectProblem(answer, 400, 'td-invalid');
        expect(answer.body, file).toMatchObject({ validationErrors: [{ field: expect.any(String) as string }] });
      }
      const token = await tokenFor(n, n.gateway, { timeS: nowS });
      if (!open) servient.addCredentials({ 'urn:gridring:backend:backend-1:directory': { token } });
      const asked = wot.requestThingDescription(`${backend.url}/things/${encodeURIComponent(ids[0]!)}`);
      // It has no way to show a token with that.
      if (open) await expect(asked).resolves.toMatchObject({ id: ids[0] });
      else await expect(asked).rejects.toThrow('Unauthorized');
      const itself = await wot.requestThingDescription(`${backend.url}/.well-known/wot`);
      expect(itself).toMatchObject({ id: 'urn:gridring:backend:backend-1:directory', '@type': ['ThingDirectory'] });
      const found: unknown[] = [];
      for await (const td of await wot.exploreDirectory(`${backend.url}/.well-known/wot`)) found.push(td.id);
      expect(found).toEqual(expect.arrayContaining(ids));
    } finally {
      await servient.shutdown();
      await backend.remove();
    }
  });
});
