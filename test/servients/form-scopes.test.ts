/** That the Thing Descriptions of backend and directory ask for what their routes ask for: nothing, or a scope. */
import { expect, it } from 'vitest';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { makeNeighbourhood } from '../support/neighbourhood.js';
import { startBackend } from './rest-server.js';

interface Form {
  readonly href: string;
  readonly security?: string | readonly string[];
  readonly scopes?: string;
  readonly 'htv:methodName'?: string;
}
type Affordances = Readonly<Record<string, { readonly forms: readonly Form[] }>>;
type Td = Readonly<Partial<Record<'properties' | 'actions' | 'events', Affordances>>>;

/** An address of a form or of a route, with every variable part alike. */
const shapeOf = (path: string): string => path.replace(/\{\?.*/, '').replace(/\{\w+\}|:\w+/g, '*');

const n = makeNeighbourhood(suiteX25519, 2);

it.each([true, false])(
  'each form names the scope of its route, and none where there is none; open: %s',
  async (open) => {
    const backend = await startBackend(n, { directory: { open } });
    try {
      const guards = backend.routes.map(({ method, url, guard }) => [`${method} ${shapeOf(url)}`, guard] as const);
      const guardOf = ({ href, 'htv:methodName': method = 'GET' }: Form): string | undefined => {
        const shape = `${method} /${shapeOf(href)}`;
        const [, guard] =
          guards.find(([route]) => route === shape) ??
          guards.find(([route]) => route === shape.replace(/thing_\w+/, '*')) ??
          [];
        return guard;
      };
      const wrong: string[] = [];
      for (const id of ['urn:gridring:backend:backend-1', 'urn:gridring:backend:backend-1:directory']) {
        const { body } = await backend.call('GET', `/things/${id}`, { as: n.gateway });
        const { properties, actions, events } = body as Td;
        for (const [name, { forms }] of Object.entries({ ...properties, ...actions, ...events })) {
          for (const form of forms) {
            const asked = [form.security ?? []].flat().includes('nosec_sc') ? 'open' : (form.scopes ?? 'known');
            if (guardOf(form) !== asked) wrong.push(`${name} ${form.href} says ${asked}, not ${String(guardOf(form))}`);
          }
        }
      }
      expect(wrong).toEqual([]);
    } finally {
      await backend.remove();
    }
  },
);
