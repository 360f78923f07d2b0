/** A small Thing with one affordance of every kind, on a real HTTP server. */
import { Servient, type ExposedThing } from '@node-wot/core';
import { ConflictError, UnavailableError, VerificationError } from '../../crypto/errors.js';
import type { ThingBehaviour, ThingEmitter } from '../../things/behaviour.js';
import { HttpServer, type HttpServerOptions } from '../../servients/bindings/http-server.js';
import { exposeThing } from '../../servients/expose.js';

const message = {
  type: 'object' as const,
  properties: { message: { type: 'string' as const, contentEncoding: 'base64url', maxLength: 300 } },
  required: ['message'],
};
const count = { type: 'object' as const, properties: { n: { type: 'integer' as const } }, required: ['n'] };

export const meterInit: WoT.ExposedThingInit = {
  '@context': 'https://www.w3.org/2022/wot/td/v1.1',
  id: 'urn:gridring:meter:m-1',
  title: 'Meter m-1',
  securityDefinitions: { nosec_sc: { scheme: 'nosec' } },
  security: 'nosec_sc',
  properties: {
    identity: { type: 'string', readOnly: true },
    keyStatus: { ...count, readOnly: true, observable: true },
  },
  actions: {
    rekey: { input: message, output: message },
    add: { input: count, output: count },
    forget: {},
  },
  events: { reading: { data: count } },
};

export interface RunningThing {
  readonly servient: Servient;
  readonly server: HttpServer;
  readonly thing: ExposedThing;
  readonly emitter: ThingEmitter;
  readonly origin: string;
  readonly port: number;
  /** What keyStatus reads; a change is announced with `emitter.propertyChanged`. */
  status: number;
  received: Uint8Array[];
}

export async function runThing(options: Partial<HttpServerOptions> = {}): Promise<RunningThing> {
  const servient = new Servient();
  const server = new HttpServer({ port: 0, address: '127.0.0.1', ...options });
  servient.addServer(server);
  let emitter: ThingEmitter | undefined;
  const state: { status: number; received: Uint8Array[] } = { status: 1, received: [] };
  const behaviour: ThingBehaviour = {
    actions: {
      rekey: {
        kind: 'message',
        invoke: async (bytes) => {
          state.received.push(bytes);
          if (bytes[0] === 0) throw new ConflictError('epoch-stale', 'epoch 3 is over');
          if (bytes[0] === 255) throw new UnavailableError('disk-full', 'no room', undefined, 10);
          if (bytes[0] === 1) throw new VerificationError('signature-invalid', 'the second signature does not verify');
          return bytes.toReversed();
        },
      },
      add: { kind: 'json', invoke: async (input) => ({ n: (input as { readonly n: number }).n + 1 }) },
      forget: { kind: 'json', invoke: async () => undefined },
    },
    properties: { identity: async () => 'm-1', keyStatus: async () => ({ n: state.status }) },
    attach: (given) => {
      emitter = given;
    },
  };
  const thing = await exposeThing(servient, meterInit, behaviour);
  if (emitter === undefined) throw new Error('the behaviour was not attached');
  const port = server.getPort();
  return Object.assign(state, { servient, server, thing, emitter, port, origin: `http://127.0.0.1:${port}` });
}
