/** The directory with software and Thing Descriptions that are not ours, read with a token and without. */
import { readdirSync, readFileSync } from 'node:fs';
import { HttpClientFactory } from '@node-wot/binding-http';
import { Servient } from '@node-wot/core';
import { describe, expect, it } from 'vitest';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { validateTd } from '../../td/validate-td.js';
import { makeNeighbourhood, nowS } from '../support/neighbourhood.js';
import { startBackend, tokenFor } from './rest-server.js';

const n = makeNeighbourhood(suiteX25519, 2);
type Td = Readonly<Record<string, unknown>>;

const corpus = new URL('../../node_modules/@thing-description-playground/core/examples/tds/valid/', import.meta.url);
const others = readdirSync(corpus)
  .map((file) => JSON.parse(readFileSync(new URL(file, corpus), 'utf8')) as Td)
  .filter((td) => validateTd(td).valid);

describe.each([true, false])('a directory that is open: %s', (open) => {
  it('takes Thing Descriptions of others unchanged, and an unmodified node-wot finds them', async () => {
    expect(others.length).toBeGreaterThan(20);
    const backend = await startBackend(n, { directory: { open } });
    const servient = new Servient();
    servient.addClientFactory(new HttpClientFactory());
    try {
      const wot = await servient.start();
      for (const [i, td] of others.entries()) {
        const id = `urn:example:${i}`;
        const path = `/things/${id}`;
        expect((await backend.call('PUT', path, { as: n.gateway, body: { ...td, id } })).status).toBe(201);
        const { body } = await backend.call('GET', path, { as: n.gateway });
        const { '@context': context, registration, ...rest } = body as Td;
        const { '@context': own, ...described } = td;
        expect([rest, registration]).toEqual([{ ...described, id }, expect.any(Object)]);
        expect([context].flat()).toEqual([...[own].flat(), 'https://www.w3.org/2022/wot/discovery']);
      }
      const token = await tokenFor(n, n.gateway, { timeS: nowS });
      if (!open) servient.addCredentials({ 'urn:gridring:backend:backend-1:directory': { token } });
      const found: unknown[] = [];
      for await (const td of await wot.exploreDirectory(`${backend.url}/.well-known/wot`)) found.push(td.id);
      expect(found).toEqual(expect.arrayContaining(others.map((__, i) => `urn:example:${i}`)));
    } finally {
      await servient.shutdown();
      await backend.remove();
    }
  });
});
