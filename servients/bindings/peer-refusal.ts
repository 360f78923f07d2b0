/** What a peer's refusal becomes on the side that asked. */
import { GridringError } from '../../crypto/errors.js';

export class PeerRefusal extends GridringError {
  /** HTTP status; of a CoAP code its digits, 409 for 4.09. */
  readonly status: number;
  /** When the peer wants to be asked again, in seconds, if it says so. */
  readonly retryAfterS: number | undefined;
  /** By which the peer's log names the request, if it says so. */
  readonly requestId: string | undefined;

  constructor(
    status: number,
    code: string,
    message: string,
    { retryAfterS, requestId }: { readonly retryAfterS?: number; readonly requestId?: string } = {},
  ) {
    super(code, message);
    this.status = status;
    this.retryAfterS = retryAfterS;
    this.requestId = requestId;
  }
}

/**
 * The refusal that a problem document (RFC 9457, JSON) with an extension member `code` tells of. Without such a code
 * it is `refused-<status>`. The peer's text is cut short, and is for logs only.
 */
export function refusalOf(status: number, body: Uint8Array): PeerRefusal {
  const { code, detail, retryAfterS, requestId } = problemFields(body);
  const known = typeof code === 'string' && /^[a-z0-9-]{1,64}$/.test(code) ? code : `refused-${status}`;
  const text = typeof detail === 'string' ? detail.slice(0, 200) : 'the peer gives no reason';
  const later = typeof retryAfterS === 'number' && retryAfterS >= 0 ? Math.min(retryAfterS, longestWaitS) : undefined;
  return new PeerRefusal(status, known, text, {
    ...(later !== undefined && { retryAfterS: later }),
    ...(typeof requestId === 'string' && /^[\w.:-]{1,64}$/.test(requestId) && { requestId }),
  });
}

/** Nobody is kept quiet for longer by what a peer says, which is not signed. */
const longestWaitS = 300;

function problemFields(body: Uint8Array): {
  readonly code?: unknown;
  readonly detail?: unknown;
  readonly retryAfterS?: unknown;
  readonly requestId?: unknown;
} {
  try {
    const problem: unknown = JSON.parse(Buffer.from(body).toString());
    return typeof problem === 'object' && problem !== null ? problem : {};
  } catch {
    return {};
  }
}
