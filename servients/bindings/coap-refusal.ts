/** How a refusal looks in CoAP: the code, and the problem object of `status.ts` as JSON. */
import { GridringError } from '../../crypto/errors.js';
import { formatOf } from './coap-formats.js';
import { optionNumber, uintOption, type CoapOption, type Reply } from './coap-message.js';
import { jsonType } from './media-types.js';
import { toPeerError, type Problem } from './status.js';

/** A refusal that only CoAP knows: method, media type, option, blocks. */
export class CoapRefusal extends GridringError {
  readonly coapCode: string;

  constructor(coapCode: string, code: string, message: string) {
    super(code, message);
    this.coapCode = coapCode;
  }
}

/** The HTTP statuses of RFC 8075 §7 where they differ from the digits of the CoAP code. */
const httpStatus: Readonly<Record<string, number>> = { '4.02': 400, '4.08': 400, '5.05': 502 };

export function refusalReply(error: unknown): Reply {
  const { coapCode, problem } = error instanceof CoapRefusal ? ownRefusal(error) : toPeerError(error);
  return {
    code: coapCode,
    options: [
      [optionNumber.contentFormat, uintOption(formatOf(jsonType))],
      // RFC 7252 §5.9.3.4: when to try again.
      ...(problem.retryAfterS === undefined
        ? []
        : [[optionNumber.maxAge, uintOption(problem.retryAfterS)] as CoapOption]),
    ],
    payload: Buffer.from(JSON.stringify(problem)),
  };
}

function ownRefusal({ coapCode, code, message }: CoapRefusal): {
  readonly coapCode: string;
  readonly problem: Problem;
} {
  const status = httpStatus[coapCode] ?? Number(coapCode.replace('.', ''));
  return { coapCode, problem: { type: 'about:blank', title: 'Refused', status, code, detail: message } };
}
