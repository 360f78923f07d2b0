/** The one place that maps an error to what a peer learns: an HTTP status, a CoAP code, and a problem document. */
import {
  ConflictError,
  GridringError,
  LimitError,
  MalformedError,
  NotFoundError,
  UnavailableError,
  VerificationError,
} from '../../crypto/errors.js';

/** RFC 9457, with the stable `code` as extension member; over CoAP the same object travels as the payload. */
export interface Problem {
  readonly type: 'about:blank';
  readonly title: string;
  readonly status: number;
  readonly code: string;
  readonly detail?: string;
  /** Seconds from now; beside the `Retry-After` of HTTP and the Max-Age of CoAP, so that clients find it alike on both. */
  readonly retryAfterS?: number;
}

export interface PeerError {
  readonly httpStatus: number;
  readonly coapCode: string;
  readonly problem: Problem;
}

/**
 * Callers learn what they can mend. Whatever failed to verify looks the same to them, and so does every fault that is
 * ours: which of them it was is in the local log and counters only.
 */
export function toPeerError(error: unknown): PeerError {
  if (error instanceof MalformedError) {
    return error.code === 'too-large'
      ? peerError(413, '4.13', 'Content Too Large', error)
      : peerError(400, '4.00', 'Bad Request', error);
  }
  if (error instanceof VerificationError) return peerError(403, '4.03', 'Forbidden', { code: 'refused' });
  if (error instanceof NotFoundError) return peerError(404, '4.04', 'Not Found', error);
  if (error instanceof ConflictError) return peerError(409, '4.09', 'Conflict', error);
  if (error instanceof LimitError) return peerError(429, '4.29', 'Too Many Requests', error);
  if (error instanceof UnavailableError) return peerError(503, '5.03', 'Service Unavailable', error, error.retryAfterS);
  return peerError(500, '5.00', 'Internal Server Error', { code: 'internal' });
}

function peerError(
  httpStatus: number,
  coapCode: string,
  title: string,
  { code, message }: Pick<GridringError, 'code'> & { readonly message?: string },
  retryAfterS?: number,
): PeerError {
  const problem: Problem = {
    ...{ type: 'about:blank', title, status: httpStatus, code },
    ...(message !== undefined && { detail: message }),
    ...(retryAfterS !== undefined && { retryAfterS }),
  };
  return { httpStatus, coapCode, problem };
}
