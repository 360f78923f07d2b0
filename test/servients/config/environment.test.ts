/** Environment variables in the place of fields of a configuration. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { configSchema, runningConfig } from '../../../servients/config.js';
import { variablesOf, withEnvironment } from '../../../servients/config-environment.js';

const folder = mkdtempSync(join(tmpdir(), 'gridring-environment-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});
const roles = ['backend', 'gateway', 'meter'] as const;
const file = (name: string, content: string): string => {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};
const backendFile = file(
  'backend.json',
  JSON.stringify({
    ...{ id: 'b', dataDir: 'data', root: 'root.pem', certificate: 'c.pem', key: 'k.pem', audience: 'urn:a' },
    listen: { port: 1_000 },
  }),
);

describe('an environment variable', () => {
  it.each(roles)('is there for every field of a %s, under a name of its own', (role) => {
    const variables = variablesOf(configSchema(role));
    const names = variables.map(({ name }) => name);
    expect(new Set([...names, ...names.map((name) => `${name}_FILE`)]).size).toBe(2 * names.length);
    expect(names.every((name) => /^GRIDRING(?:_(?:[A-Z0-9]+|<n>))+$/.test(name))).toBe(true);
    expect(names).toEqual(expect.arrayContaining(['GRIDRING_ROOT', 'GRIDRING_SUITE', 'GRIDRING_OPERATIONS_PORT']));
    const shown = JSON.stringify(withEnvironment(configSchema(role)));
    for (const name of names) expect(shown).toContain(`"x-environment":"${name}"`);
  });

  // `npx vitest run test/servients/config/environment.test.ts -u` brings the document up to date.
  it('is in the documents', async () => {
    const tables = roles.map((role) => {
      const rows = variablesOf(configSchema(role)).map(
        ({ name, path, description }) =>
          `| \`${name}\` | \`${path.join('.')}\` | ${description.replaceAll('|', '\\|')} |`,
      );
      const title = `## ${role.charAt(0).toUpperCase()}${role.slice(1)}`;
      return `${title}\n\n| variable | field | |\n| --- | --- | --- |\n${rows.join('\n')}\n`;
    });
    const path = new URL('../../../docs/environment.md', import.meta.url);
    const [introduction = ''] = readFileSync(path, 'utf8').split(/^## /m);
    await expect([introduction.trimEnd(), '', ...tables].join('\n')).toMatchFileSnapshot(fileURLToPath(path));
  });

  it('takes the place of the field, and leaves the others', () => {
    const config = runningConfig('backend', backendFile, {
      GRIDRING_LISTEN_PORT: '9000',
      GRIDRING_RETENTION_READINGS_DAYS: '30',
      GRIDRING_AUDIENCE: '42',
      GRIDRING_ID: '',
      PATH: '/bin',
    });
    expect(config).toMatchObject({ id: 'b', audience: '42', listen: { port: 9_000, address: '127.0.0.1' } });
    expect(config.retention.readingsDays).toBe(30);
    expect(config.key).toBe(join(folder, 'k.pem'));
  });

  it('that names a file is relative to where the process runs; one that ends with _FILE holds the value', () => {
    const secret = file('database', 'postgres://user:password@host/name\n');
    const config = runningConfig('backend', backendFile, {
      GRIDRING_DATABASE_FILE: secret,
      GRIDRING_KEY: 'other.pem',
    });
    expect(config).toMatchObject({ database: 'postgres://user:password@host/name', key: resolve('other.pem') });
  });

  it('is enough, without any file', () => {
    const config = runningConfig('meter', undefined, {
      GRIDRING_ROOT: '/keys/root.pem',
      GRIDRING_GATEWAY_TD: 'coap://gateway:5683/.well-known/wot',
      GRIDRING_METERS_0_ID: 'kitchen',
      GRIDRING_METERS_0_DATA_DIR: '/data',
      GRIDRING_METERS_0_CERTIFICATE: '/keys/certificate.pem',
      GRIDRING_METERS_0_KEY: '/keys/key.pem',
      GRIDRING_METERS_0_SOURCE_KIND: 'csv',
      GRIDRING_METERS_0_SOURCE_SPEED: '30',
      GRIDRING_GATEWAY_OTHERS: '["coap://other:5683/.well-known/wot"]',
      GRIDRING_METERS_0_LISTEN_SCHEME: 'http',
    });
    expect(config.gateway.others).toEqual(['coap://other:5683/.well-known/wot']);
    expect(config.meters).toMatchObject([
      { id: 'kitchen', listen: { scheme: 'http' }, source: { kind: 'csv', speed: 30 } },
    ]);
  });

  it('that fits no field is refused with the one that was meant; one of another role is let be', () => {
    const run = (environment: Readonly<Record<string, string>>) => () =>
      runningConfig('backend', backendFile, environment);
    expect(run({ GRIDRING_LISTEN_PROT: '1' })).toThrow(/GRIDRING_LISTEN_PROT; did you mean GRIDRING_LISTEN_/);
    expect(run({ GRIDRING_GATEWAY_TD: 'coap://gateway' })).not.toThrow();
    expect(run({ GRIDRING_LOG_LEVEL: 'debug' })).not.toThrow();
  });

  it('that does not fit the schema is refused as a field would be', () => {
    expect(() => runningConfig('backend', backendFile, { GRIDRING_LISTEN_PORT: 'http' })).toThrow(/\/listen\/port/);
    expect(() => runningConfig('backend', backendFile, { GRIDRING_DATABASE_FILE: '/nowhere' })).toThrow(/nowhere/);
  });

  it('of none, and no file, is no configuration', () => {
    expect(() => runningConfig('backend', undefined, {})).toThrow(/--config FILE/);
  });
});
