/** The OpenAPI description that a backend gives of itself. */
import { createConfig, lintFromString } from '@redocly/openapi-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { makeNeighbourhood } from '../support/neighbourhood.js';
import { startBackend, type TestBackend } from './rest-server.js';

const n = makeNeighbourhood(suiteX25519, 2);

interface Description {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, { readonly operationId?: string }>>>>;
}

describe('the OpenAPI description', () => {
  let backend: TestBackend;
  let description: Description;
  beforeAll(async () => {
    backend = await startBackend(n);
    description = (await backend.call('GET', '/api/v1/openapi.json')).body as Description;
  });
  afterAll(() => backend.remove());

  it('is one of version 3.1 that the recommended rules of a linter find nothing in', async () => {
    expect(description.openapi).toMatch(/^3\.1\./);
    const config = await createConfig({ extends: ['recommended'] });
    const problems = await lintFromString({ source: JSON.stringify(description), config });
    expect(problems.map(({ ruleId, message, location }) => [ruleId, message, location[0]?.pointer])).toEqual([]);
  });

  it('is the same as YAML', async () => {
    const yaml = await (await backend.request('GET', '/api/v1/openapi.yaml')).text();
    expect(parse(yaml)).toEqual(description);
  });

  it('has a page for people, which loads nothing from anywhere else', async () => {
    const page = await backend.request('GET', '/api/v1/docs/');
    expect(page.headers.get('content-type')).toMatch(/^text\/html/);
    const policy = page.headers.get('content-security-policy') ?? '';
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toMatch(/https?:|\*|unsafe-eval/);
    for (const path of ['/api/v1/docs', '/api/v1/docs/']) {
      const html = await (await backend.request('GET', path)).text();
      const linked = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, link = '']) => link);
      expect(linked.length).toBeGreaterThan(2);
      for (const link of linked) {
        const { status } = await backend.request('HEAD', new URL(link, `http://x${path}`).pathname);
        expect([path, link, status]).toEqual([path, link, 200]);
      }
    }
    expect((await backend.request('GET', '/api/v1/identity')).headers.has('content-security-policy')).toBe(false);
  });
});
