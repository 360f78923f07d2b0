/** What a peer's refusal becomes on the side that asked. */
import { GridringError } from '../../crypto/errors.js';

export class PeerRefusal extends GridringError {
  /** HTTP status; of a CoAP code its digits, 409 for 4.09. */
  readonly status: number;

  constructor(status: number, code: string, message: string) {
    super(code, message);
    this.status = status;
  }
}

/**
 * The refusal that a problem document (RFC 9457, JSON) with an extension member `code` tells of. Without such a code
 * it is `refused-<status>`. The peer's text is cut short, and is for logs only.
 */
export function refusalOf(status: number, body: Uint8Array): PeerRefusal {
  const { code, detail } = problemFields(body);
  const known = typeof code === 'string' && /^[a-z0-9-]{1,64}$/.test(code) ? code : `refused-${status}`;
  const text = typeof detail === 'string' ? detail.slice(0, 200) : 'the peer gives no reason';
  return new PeerRefusal(status, known, text);
}

function problemFields(body: Uint8Array): { readonly code?: unknown; readonly detail?: unknown } {
  try {
    const problem: unknown = JSON.parse(Buffer.from(body).toString());
    return typeof problem === 'object' && problem !== null ? problem : {};
  } catch {
    return {};
  }
}
