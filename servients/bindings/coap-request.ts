/** A request as the Things' resources see it: critical options understood or refused (RFC 7252 §5.4). */
import { blockValue, optionNumber, uintValue, type Block, type CoapMessage, type CoapOption } from './coap-message.js';
import type { Remote } from './coap-gate.js';
import { CoapRefusal } from './coap-refusal.js';

export interface CoapRequest {
  readonly method: string;
  /** Segments as sent: CoAP knows no percent-encoding. */
  readonly path: readonly string[];
  /** Its parts as sent. */
  readonly query: readonly string[];
  readonly contentFormat: number | undefined;
  readonly accept: number | undefined;
  readonly observe: number | undefined;
  readonly block1: Block | undefined;
  readonly block2: Block | undefined;
  readonly size1: number | undefined;
  readonly payload: Buffer;
  /** Address of the sender, for fairness. */
  readonly source: string;
  readonly sourcePort: number;
  /** What all blocks of one transfer share (RFC 7959 §2.5, RFC 9175 §3): endpoint, method, path, query, Request-Tag. */
  readonly transferKey: string;
  /** Endpoint and token: who observes. */
  readonly observerKey: string;
}

const methods: Readonly<Record<string, string>> = { '0.01': 'GET', '0.02': 'POST', '0.03': 'PUT', '0.04': 'DELETE' };

const { uriHost, uriPort, uriPath, uriQuery, accept, block1, block2, proxyUri, proxyScheme, requestTag } = optionNumber;
const understood = new Set<number>([uriHost, uriPort, uriPath, uriQuery, accept, block1, block2]);
const repeatable = new Set<number>([uriPath, uriQuery]);
const ofTransfer = new Set<number>([uriPath, uriQuery, requestTag]);

/** @throws CoapRefusal `option-unknown` (4.02), `proxying-unsupported` (5.05); MalformedError `option-malformed` */
export function readRequest(message: CoapMessage, { address, port }: Remote): CoapRequest {
  const { code, options, payload, token } = message;
  assertUnderstood(options);
  const endpoint = `${address} ${port}`;
  const transfer = options.filter(([number]) => ofTransfer.has(number));
  return {
    method: methods[code] ?? code,
    path: pathOf(options),
    query: textsOf(options, uriQuery),
    contentFormat: uintValue(options, optionNumber.contentFormat),
    accept: uintValue(options, accept),
    observe: uintValue(options, optionNumber.observe),
    block1: blockValue(options, block1),
    block2: blockValue(options, block2),
    size1: uintValue(options, optionNumber.size1),
    payload,
    source: address,
    sourcePort: port,
    transferKey: [endpoint, code, ...transfer.map(([number, value]) => `${number}=${value.toString('hex')}`)].join(' '),
    observerKey: `${endpoint} ${token.toString('hex')}`,
  };
}

/** Odd numbers are critical; one that may not be repeated and is counts as unknown (RFC 7252 §5.4.5). */
function assertUnderstood(options: readonly CoapOption[]): void {
  const met = new Set<number>();
  for (const [number] of options) {
    if (number === proxyUri || number === proxyScheme) {
      throw new CoapRefusal('5.05', 'proxying-unsupported', 'this is no proxy');
    }
    const surplus = met.has(number) && !repeatable.has(number);
    if (number % 2 === 1 && (surplus || !understood.has(number))) {
      throw new CoapRefusal('4.02', 'option-unknown', `option ${number} is critical and not understood`);
    }
    met.add(number);
  }
}

function pathOf(options: readonly CoapOption[]): readonly string[] {
  const path = textsOf(options, uriPath);
  return path.at(-1) === '' ? path.slice(0, -1) : path;
}

const textsOf = (options: readonly CoapOption[], wanted: number): readonly string[] =>
  options.filter(([number]) => number === wanted).map(([, value]) => value.toString());
