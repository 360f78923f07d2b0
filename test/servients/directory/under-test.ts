/** A directory for many tests, and who reads it: anybody, or who shows a token. */
import { afterAll, afterEach, beforeAll } from 'vitest';
import { suiteX25519 } from '../../../crypto/suite-node.js';
import { makeNeighbourhood, nowS, type Principal } from '../../support/neighbourhood.js';
import { readEvents, type EventReader } from '../event-reader.js';
import { startBackend, type Answer, type TestBackend } from '../rest-server.js';

export type Td = Readonly<Record<string, unknown>>;
type Headers = Readonly<Record<string, string>>;

export const n = makeNeighbourhood(suiteX25519, 2);
export const otherGateway = n.certify('gateway', 'gw-2');
export const discoveryContext = 'https://www.w3.org/2022/wot/discovery';

export const anonymous: Td = {
  '@context': 'https://www.w3.org/2022/wot/td/v1.1',
  title: 'Lamp',
  securityDefinitions: { nosec_sc: { scheme: 'nosec' } },
  security: 'nosec_sc',
};
export const lamp = (name: string, more: Td = {}): Td => ({ ...anonymous, id: `urn:example:${name}`, ...more });
export const pathOf = (id: unknown): string => `/things/${encodeURIComponent(String(id))}`;

/** Whether a directory is open to those without a token. */
export const modes = [
  ['open', true],
  ['with tokens', false],
] as const;

export class DirectoryUnderTest {
  backend!: TestBackend;
  readonly open: boolean;

  constructor(open: boolean) {
    this.open = open;
  }

  async start(folder?: string): Promise<void> {
    const options = { directory: { open: this.open }, http: { limits: { requestsPerMinute: 100_000 } } };
    this.backend = await startBackend(n, options, folder);
  }

  /** Reads, as who may. */
  call(method: string, path: string, headers: Headers = {}, body?: unknown): Promise<Answer> {
    return this.backend.call(method, path, { ...this.#reader, headers, ...(body !== undefined && { body }) });
  }

  get(path: string, headers: Headers = {}): Promise<Answer> {
    return this.call('GET', path, headers);
  }

  async follow(path: string, headers: Headers = {}): Promise<EventReader> {
    const options = { ...this.#reader, headers: { accept: 'text/event-stream', ...headers } };
    return readEvents(await this.backend.request('GET', path, options));
  }

  write(method: string, path: string, td?: unknown, as: Principal = n.gateway): Promise<Answer> {
    return this.backend.call(method, path, {
      as,
      ...(td !== undefined && { body: td, headers: { 'content-type': 'application/td+json' } }),
    });
  }

  put(td: Td, as?: Principal): Promise<Answer> {
    return this.write('PUT', pathOf(td['id']), td, as);
  }

  patch(id: string, body: unknown, headers: Headers = {}, as = n.gateway): Promise<Answer> {
    return this.backend.call('PATCH', pathOf(id), {
      as,
      body,
      headers: { 'content-type': 'application/merge-patch+json', ...headers },
    });
  }

  async thing(name: string): Promise<Td> {
    return (await this.get(pathOf(`urn:example:${name}`))).body as Td;
  }

  async idsOf(path = '/things'): Promise<readonly unknown[]> {
    return ((await this.get(path)).body as readonly Td[]).map((td) => td['id']);
  }

  /** Nobody is registered but the backend itself, and it is the first second again. */
  async empty(): Promise<void> {
    for (const id of await this.idsOf()) {
      for (const as of [n.gateway, otherGateway]) await this.write('DELETE', pathOf(id), undefined, as);
    }
    this.backend.clockS = nowS;
  }

  get #reader(): { readonly as?: Principal } {
    return this.open ? {} : { as: n.gateway };
  }
}

/** One for all tests of the `describe` that it is called in, emptied after each. */
export function directoryUnderTest(open: boolean): DirectoryUnderTest {
  const directory = new DirectoryUnderTest(open);
  beforeAll(() => directory.start());
  afterEach(() => directory.empty());
  afterAll(() => directory.backend.remove());
  return directory;
}
