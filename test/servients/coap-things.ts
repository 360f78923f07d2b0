/** A small Thing over CoAP, and a peer that sends whatever bytes a test wants. */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { Servient, type ExposedThing } from '@node-wot/core';
import type { CoapObserver } from '../../servients/bindings/coap-gate.js';
import { CoapClientFactory } from '../../servients/bindings/coap-client.js';
import type { CoapClientLimits } from '../../servients/bindings/coap-transport.js';
import { parseMessage, uintOption, type CoapMessage } from '../../servients/bindings/coap-message.js';
import { CoapServer, type CoapServerOptions } from '../../servients/bindings/coap-server.js';
import { exposeThing } from '../../servients/expose.js';
import type { ActionHandler, ThingBehaviour, ThingEmitter } from '../../things/behaviour.js';

const message = {
  type: 'object',
  properties: { message: { type: 'string', contentEncoding: 'base64url' } },
  required: ['message'],
} as const;
const count = { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'] } as const;

export const meterInit = {
  '@context': 'https://www.w3.org/2022/wot/td/v1.1',
  id: 'urn:gridring:meter:m-1',
  title: 'Meter m-1',
  securityDefinitions: { nosec_sc: { scheme: 'nosec' } },
  security: 'nosec_sc',
  properties: {
    identity: { type: 'string', readOnly: true },
    keyStatus: { type: 'object', readOnly: true, observable: true },
    setting: { type: 'integer' },
  },
  actions: {
    echo: { input: message, output: message },
    activate: { input: message },
    add: { input: count, output: count },
    forget: {},
  },
  events: { reading: { data: { type: 'object' } } },
} as unknown as WoT.ExposedThingInit;

export class Counters implements CoapObserver {
  readonly codes: string[] = [];
  readonly drops: string[] = [];
  readonly failures: unknown[] = [];

  refused(code: string): void {
    this.codes.push(code);
  }

  dropped(reason: string): void {
    this.drops.push(reason);
  }

  failed(error: unknown): void {
    this.failures.push(error);
  }
}

export interface RunningMeter {
  readonly servient: Servient;
  readonly server: CoapServer;
  readonly thing: ExposedThing;
  readonly counters: Counters;
  readonly emitter: ThingEmitter;
  readonly origin: string;
  readonly port: number;
  /** What `keyStatus` reads; announced with `emitter.propertyChanged`. */
  status: unknown;
  /** What `echo` does, by default returning what it was sent. */
  echo: (bytes: Uint8Array) => Promise<Uint8Array>;
  readonly received: Uint8Array[];
}

export async function runMeter(options: Partial<CoapServerOptions> = {}): Promise<RunningMeter> {
  const counters = new Counters();
  const servient = new Servient();
  const server = new CoapServer({ port: 0, address: '127.0.0.1', observer: counters, ...options });
  servient.addServer(server);
  const state: Pick<RunningMeter, 'status' | 'echo' | 'received'> = {
    status: { epoch: 1 },
    echo: async (bytes) => bytes,
    received: [],
  };
  const emitters: ThingEmitter[] = [];
  const echo: ActionHandler = {
    kind: 'message',
    invoke: (bytes) => {
      state.received.push(bytes);
      return state.echo(bytes);
    },
  };
  const behaviour: ThingBehaviour = {
    actions: {
      echo,
      activate: echo,
      add: { kind: 'json', invoke: async (input) => ({ n: (input as { readonly n: number }).n + 1 }) },
      forget: { kind: 'json', invoke: async () => undefined },
    },
    properties: { identity: async () => 'm-1', keyStatus: async () => state.status, setting: async () => 1 },
    attach: (emitter) => emitters.push(emitter),
  };
  const thing = await exposeThing(servient, meterInit, behaviour);
  const [emitter] = emitters;
  if (emitter === undefined) throw new Error('the behaviour was not attached');
  const port = server.getPort();
  const host = options.address?.includes(':') === true ? `[${options.address}]` : '127.0.0.1';
  return Object.assign(state, { servient, server, thing, counters, emitter, port, origin: `coap://${host}:${port}` });
}

export interface RunningClient {
  readonly servient: Servient;
  readonly meter: WoT.ConsumedThing;
}

/** Our own client, which has consumed the meter's TD. */
export async function runClient(
  { origin }: Pick<RunningMeter, 'origin'>,
  limits: Partial<CoapClientLimits> = {},
): Promise<RunningClient> {
  const servient = new Servient();
  servient.addClientFactory(new CoapClientFactory(limits));
  const wot = await servient.start();
  return { servient, meter: await wot.consume(await wot.requestThingDescription(`${origin}/meter-m-1`)) };
}

/** Enough for a test that sends everything at once from one address. */
export const noRateLimit = { perSecond: 1_000_000, burst: 1_000_000, sources: 16 } as const;

export interface RawRequest {
  readonly type?: 'con' | 'non';
  readonly code?: number;
  readonly id?: number;
  readonly token?: Uint8Array;
  readonly path?: readonly string[];
  /** By number; values as they are sent. */
  readonly options?: readonly (readonly [number, Uint8Array | number])[];
  readonly payload?: Uint8Array;
}

export const get = 1;
export const post = 2;
export const put = 3;

/** Encodes a request; written apart from the binding's own code, which it tests. */
export function rawRequest({ type = 'con', code = get, id = 1, token = Buffer.of(1), ...rest }: RawRequest): Buffer {
  const { path = [], options = [], payload } = rest;
  const all = [...path.map((segment) => [11, Buffer.from(segment)] as const), ...options];
  const parts = [Buffer.of(0x40 | (type === 'con' ? 0 : 0x10) | token.length, code, id >> 8, id & 255), token];
  let last = 0;
  for (const [number, value] of all.toSorted(([a], [b]) => a - b)) {
    const bytes = typeof value === 'number' ? uintOption(value) : value;
    const [delta, deltaBytes] = extended(number - last);
    const [length, lengthBytes] = extended(bytes.length);
    parts.push(Buffer.of((delta << 4) | length), deltaBytes, lengthBytes, bytes);
    last = number;
  }
  if (payload !== undefined && payload.length > 0) parts.push(Buffer.of(0xff), payload);
  return Buffer.concat(parts);
}

function extended(value: number): [number, Buffer] {
  if (value < 13) return [value, Buffer.alloc(0)];
  if (value < 269) return [13, Buffer.of(value - 13)];
  return [14, Buffer.of((value - 269) >> 8, (value - 269) & 255)];
}

/** A UDP socket on loopback, whose datagrams a test reads one by one. */
export class RawPeer {
  readonly socket: Socket;
  readonly port: number;
  readonly #remotePort: number;
  readonly #inbox: Buffer[] = [];
  readonly senders: { readonly port: number; readonly address: string }[] = [];

  private constructor(socket: Socket, remotePort: number) {
    this.socket = socket;
    this.port = socket.address().port;
    this.#remotePort = remotePort;
    socket.on('message', (datagram, sender) => {
      this.#inbox.push(datagram);
      this.senders.push(sender);
      socket.emit('arrived');
    });
  }

  static async open(remotePort = 0, address = '127.0.0.1'): Promise<RawPeer> {
    const socket = createSocket('udp4');
    socket.bind(0, address);
    await once(socket, 'listening');
    return new RawPeer(socket, remotePort);
  }

  send(datagram: Uint8Array, port = this.#remotePort): void {
    this.socket.send(datagram, port, '127.0.0.1');
  }

  /** How many datagrams have arrived in all. */
  get arrived(): number {
    return this.senders.length;
  }

  async nextBytes(): Promise<Buffer> {
    while (this.#inbox.length === 0) await once(this.socket, 'arrived');
    return this.#inbox.shift() ?? Buffer.alloc(0);
  }

  async next(): Promise<CoapMessage> {
    const parsed = parseMessage(await this.nextBytes());
    if (parsed === undefined) throw new Error('the peer sent what is no CoAP message');
    return parsed;
  }

  async ask(request: RawRequest): Promise<CoapMessage> {
    this.send(rawRequest(request));
    return this.next();
  }

  close(): void {
    this.socket.close();
  }
}

/** The problem object of a refusal. */
export const problemOf = ({ payload }: CoapMessage): unknown => JSON.parse(payload.toString());
