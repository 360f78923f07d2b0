/** Block-wise transfer (RFC 7959) from the client's side: both directions, with every number, sum and tag checked. */
import { randomBytes } from 'node:crypto';
import { MalformedError, UnavailableError } from '../../crypto/errors.js';
import type { CoapCall, CoapResponse } from './coap-agent.js';
import { blockOption, blockValue, maxBlockSize, optionNumber, optionValue, uintOption } from './coap-message.js';
import type { CoapOption } from './coap-message.js';
import { refusalOf } from './peer-refusal.js';

/** @throws PeerRefusal for a code of 4.00 or above */
export function accepted(response: CoapResponse): CoapResponse {
  if (response.code.startsWith('2.')) return response;
  throw refusalOf(Number(response.code.replace('.', '')), response.payload);
}

type Exchange = (call: CoapCall) => Promise<CoapResponse>;

/**
 * The call and its whole response, however many messages that takes.
 * @throws what `exchange` throws; MalformedError `too-large`, `option-malformed`, `block-malformed`; UnavailableError
 *   `peer-reply-changed`
 */
export async function transfer(exchange: Exchange, call: CoapCall, maxBytes: number): Promise<CoapResponse> {
  const { payload = new Uint8Array(0) } = call;
  if (payload.length <= maxBlockSize) return download(exchange, call, await exchange(call), maxBytes);
  for (let tries = uploadTries; ; tries--) {
    // RFC 9175 §3.3: tells apart transfers that run at the same time.
    const tagged = { ...call, options: [...call.options, [optionNumber.requestTag, randomBytes(4)] as const] };
    const response = await upload(exchange, tagged, payload);
    if (response.code !== incomplete || tries === 1) return download(exchange, tagged, response, maxBytes);
  }
}

/** RFC 7959 §2.9.2: the receiver has not all blocks, or had them, gave its answer, and the answer was lost. */
const incomplete = '4.08';
const uploadTries = 3;

async function upload(exchange: Exchange, call: CoapCall, payload: Uint8Array): Promise<CoapResponse> {
  let size = maxBlockSize;
  for (let sent = 0; ;) {
    const more = sent + size < payload.length;
    const block = blockOption({ num: sent / size, more, size });
    const options: CoapOption[] = [...call.options, [optionNumber.block1, block]];
    if (sent === 0) options.push([optionNumber.size1, uintOption(payload.length)]);
    const response = await exchange({ ...call, options, payload: payload.subarray(sent, sent + size) });
    if (!more || response.code !== '2.31') return response;
    sent += size;
    // The peer may ask for smaller blocks from here on (RFC 7959 §2.5).
    size = Math.min(size, blockValue(response.options, optionNumber.block1)?.size ?? size);
  }
}

/** Fetches what is missing of a response, from the same resource with the same options. */
export async function download(
  exchange: Exchange,
  call: CoapCall,
  first: CoapResponse,
  maxBytes: number,
): Promise<CoapResponse> {
  const parts: Buffer[] = [];
  let received = 0;
  for (let response = first; ;) {
    const block = blockValue(response.options, optionNumber.block2);
    received += response.payload.length;
    if (received > maxBytes) throw new MalformedError('too-large', `the response has more than ${maxBytes} bytes`);
    parts.push(response.payload);
    if (block?.more !== true) return { ...first, payload: Buffer.concat(parts) };
    if (response.payload.length !== block.size || received !== (block.num + 1) * block.size) throw unfitting();
    const option = blockOption({ num: block.num + 1, more: false, size: block.size });
    response = await exchange({
      remote: call.remote,
      method: call.method,
      options: [...call.options, [optionNumber.block2, option]],
    });
    if (!response.code.startsWith('2.')) return response;
    if (blockValue(response.options, optionNumber.block2)?.num !== block.num + 1) throw unfitting();
    if (!sameTag(first, response)) {
      throw new UnavailableError('peer-reply-changed', 'the representation changed while it was fetched');
    }
  }
}

function sameTag(a: CoapResponse, b: CoapResponse): boolean {
  const [tagA, tagB] = [a, b].map(({ options }) => optionValue(options, optionNumber.etag)?.toString('hex'));
  return tagA === tagB;
}

const unfitting = (): MalformedError => new MalformedError('block-malformed', 'a block that does not fit the others');
