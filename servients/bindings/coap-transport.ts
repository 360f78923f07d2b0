/** What all CoAP clients of one servient share: a socket for each address family, deadlines, observations. */
import { createSocket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { isIP, SocketAddress } from 'node:net';
import { MalformedError, UnavailableError } from '../../crypto/errors.js';
import { CoapAgent, type CoapCall, type CoapResponse } from './coap-agent.js';
import { optionNumber, type CoapOption } from './coap-message.js';
import { Observation, type ObservationHandlers, type ObservationLimits } from './coap-observation.js';
import { accepted, download, transfer } from './coap-transfer.js';

export interface CoapClientLimits extends ObservationLimits {
  /** How often a block of a transfer is sent, as a new message each time: who gives up one has to begin anew. */
  readonly blockTries: number;
  /** How long all messages of a block-wise transfer may take together. */
  readonly transferDeadlineMs: number;
  /** Largest response. */
  readonly bodyBytes: number;
}

export interface CoapTarget {
  readonly url: string;
  readonly method: CoapCall['method'];
  /** Beyond those of the URL. */
  readonly options: readonly CoapOption[];
  readonly payload?: Uint8Array;
}

export class CoapTransport {
  readonly #limits: CoapClientLimits;
  readonly #agents = new Map<number, CoapAgent>();
  readonly #observations = new Set<Observation>();
  #closed = false;

  constructor(limits: CoapClientLimits) {
    this.#limits = limits;
  }

  /**
   * The response to a request, block-wise where it must be.
   * @throws PeerRefusal for a code of 4.00 or above; UnavailableError `peer-timeout`, `peer-unreachable`, `peer-reset`,
   *   `peer-reply-changed`, `client-stopped`; MalformedError `url-malformed` and those of `transfer`
   */
  async request(target: CoapTarget): Promise<CoapResponse> {
    const { agent, call } = await this.#reach(target);
    return accepted(await transfer(this.#within(agent), call, this.#limits.bodyBytes));
  }

  /**
   * Observes (RFC 7641), and registers again when nothing is heard for long. Resolves when the peer has the
   * registration, to the function that ends it.
   * @throws as `request` does; UnavailableError `observe-refused` when the peer answers without registering
   */
  async observe(target: CoapTarget, handlers: ObservationHandlers): Promise<() => void> {
    const { agent, call } = await this.#reach(target);
    const limits = this.#limits;
    const observation = new Observation(agent, call, limits, handlers, (response) =>
      download(this.#within(agent), call, response, limits.bodyBytes),
    );
    await observation.start();
    this.#observations.add(observation);
    return () => {
      this.#observations.delete(observation);
      observation.leave();
    };
  }

  close(): void {
    this.#closed = true;
    for (const observation of this.#observations) observation.stop();
    for (const agent of this.#agents.values()) agent.shutDown();
    this.#observations.clear();
    this.#agents.clear();
  }

  async #reach(target: CoapTarget): Promise<{ readonly agent: CoapAgent; readonly call: CoapCall }> {
    const { host, port, options } = readUrl(target.url);
    const remote = { address: await addressOf(host), port };
    if (this.#closed) throw new UnavailableError('client-stopped', 'the CoAP client was stopped');
    const { method, payload } = target;
    const call = { remote, method, options: [...options, ...target.options], ...(payload && { payload }) };
    return { agent: this.#agentFor(isIP(remote.address)), call };
  }

  #agentFor(family: number): CoapAgent {
    const known = this.#agents.get(family);
    if (known !== undefined) return known;
    const agent = new CoapAgent(createSocket(family === 6 ? 'udp6' : 'udp4'));
    this.#agents.set(family, agent);
    return agent;
  }

  #within(agent: CoapAgent): (call: CoapCall) => Promise<CoapResponse> {
    return persistent((call, deadlineMs) => agent.exchange(call, deadlineMs), this.#limits, Date.now);
  }
}

/** Exchanges of one transfer that begins now: they share its deadline, and blocks are tried more than once. */
export function persistent(
  exchange: (call: CoapCall, deadlineMs: number) => Promise<CoapResponse>,
  { deadlineMs, transferDeadlineMs, blockTries }: CoapClientLimits,
  nowMs: () => number,
): (call: CoapCall) => Promise<CoapResponse> {
  const endMs = nowMs() + transferDeadlineMs;
  return async (call) => {
    for (let tries = isBlock(call) ? blockTries : 1; ; tries--) {
      const leftMs = Math.max(0, endMs - nowMs());
      try {
        return await exchange(call, Math.min(deadlineMs, leftMs));
      } catch (error) {
        const isTimeout = error instanceof UnavailableError && error.code === 'peer-timeout';
        if (!isTimeout || tries === 1 || leftMs <= deadlineMs) throw error;
      }
    }
  };
}

const isBlock = ({ options }: CoapCall): boolean =>
  options.some(([number]) => number === optionNumber.block1 || number === optionNumber.block2);

interface CoapUrl {
  readonly host: string;
  readonly port: number;
  readonly options: readonly CoapOption[];
}

/** RFC 7252 §6.4. @throws MalformedError `url-malformed` */
function readUrl(text: string): CoapUrl {
  try {
    const { hostname, port, pathname, search } = new URL(text);
    const path = pathname === '/' ? [] : pathname.split('/').slice(1);
    const query = search === '' ? [] : search.slice(1).split('&');
    return {
      host: hostname.replace(/^\[(.*)\]$/, '$1'),
      port: port === '' ? 5683 : Number(port),
      options: [
        ...path.map((segment) => [optionNumber.uriPath, Buffer.from(decodeURIComponent(segment))] as const),
        ...query.map((argument) => [optionNumber.uriQuery, Buffer.from(decodeURIComponent(argument))] as const),
      ],
    };
  } catch (cause) {
    throw new MalformedError('url-malformed', `not a CoAP URL: ${text}`, cause);
  }
}

/** An address in the form in which sockets report it. @throws UnavailableError `peer-unreachable` */
async function addressOf(host: string): Promise<string> {
  if (isIP(host) === 4) return host;
  if (isIP(host) === 6) return new SocketAddress({ address: host, family: 'ipv6' }).address;
  try {
    return (await lookup(host)).address;
  } catch (cause) {
    throw new UnavailableError('peer-unreachable', `no address is known of ${host}`, cause);
  }
}
