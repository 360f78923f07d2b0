/** What an HTTP caller learns of an error: RFC 9457 problem documents, through Fastify or on the bare socket. */
import { STATUS_CODES, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { GridringError, VerificationError } from '../../crypto/errors.js';
import { ScopeError } from '../auth/scope-error.js';
import type { HttpAppOptions } from './http-app.js';
import { toPeerError, type Problem } from './status.js';
import { parseTraceparent } from './trace.js';

type Headers = Readonly<Record<string, string>>;

/** A refusal that only HTTP knows: method, media type, framing. */
export class HttpRefusal extends GridringError {
  readonly status: number;
  readonly headers: Headers;

  constructor(status: number, code: string, message: string, headers: Headers = {}) {
    super(code, message);
    this.status = status;
    this.headers = headers;
  }

  static methodNotAllowed(allowed: readonly string[]): HttpRefusal {
    return new HttpRefusal(405, 'method-not-allowed', `allowed here: ${allowed.join(', ')}`, {
      allow: allowed.join(', '),
    });
  }
}

interface HttpAnswer {
  readonly problem: Problem;
  readonly headers?: Headers;
}

function toHttpAnswer(error: unknown, scheme: 'Bearer' | 'DPoP'): HttpAnswer {
  if (error instanceof HttpRefusal) {
    return { problem: problemOf(error.status, error.code, error.message), headers: error.headers };
  }
  if (error instanceof ScopeError) {
    return {
      problem: { ...toPeerError(error).problem, detail: `a token with the scope ${error.scope} is required` },
      headers: { 'www-authenticate': `${scheme} realm="gridring", error="insufficient_scope", scope="${error.scope}"` },
    };
  }
  if (error instanceof VerificationError && error.code.startsWith('token-')) {
    return unauthenticated(error.code, scheme);
  }
  if (error instanceof VerificationError && error.code.startsWith('proof-')) return proofRefused;
  return (error instanceof GridringError ? undefined : fastifyAnswer(error)) ?? { problem: toPeerError(error).problem };
}

/** RFC 6750 §3. A caller can mend a missing or an expired token; of any other it learns only that it is refused. */
function unauthenticated(code: string, scheme: string): HttpAnswer {
  if (code === 'token-missing') {
    return {
      problem: problemOf(401, code, 'a bearer token is required'),
      headers: { 'www-authenticate': 'Bearer realm="gridring"' },
    };
  }
  const told = toldOfTokens[code];
  return {
    problem: problemOf(401, told ? code : 'token-invalid', told ?? 'the token is refused'),
    headers: { 'www-authenticate': `${scheme} realm="gridring", error="invalid_token"` },
  };
}

/** What a caller can mend, and nobody learns anything from. */
const toldOfTokens: Readonly<Record<string, string>> = {
  'token-expired': 'the token has expired',
  'token-unbound': 'a token that is bound to a key is required, with a proof for each request (DPoP, RFC 9449)',
  'token-self-signed':
    'a gateway needs a token of the issuer, which /.well-known/oauth-protected-resource names: private_key_jwt under its certificate’s key',
};

/** RFC 9449 §7.1. */
const proofRefused: HttpAnswer = {
  problem: problemOf(
    401,
    'proof-invalid',
    'the proof of possession is refused: one that is new, by the key of the token, for this method and address is required',
  ),
  headers: { 'www-authenticate': 'DPoP realm="gridring", error="invalid_dpop_proof", algs="ES256 EdDSA"' },
};

const fastifyCodes: Readonly<Record<string, string>> = {
  FST_ERR_BAD_URL: 'target-malformed',
  FST_ERR_MAX_PARAM_LENGTH: 'target-too-long',
  FST_ERR_CTP_BODY_TOO_LARGE: 'too-large',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'media-type-unsupported',
  FST_ERR_CTP_INVALID_JSON_BODY: 'body-malformed',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'body-malformed',
  FST_ERR_VALIDATION: 'input-invalid',
};

function fastifyAnswer(error: unknown): HttpAnswer | undefined {
  if (!(error instanceof Error)) return undefined;
  const { statusCode, code, message } = error as Error & { readonly statusCode?: number; readonly code?: string };
  if (statusCode === undefined || statusCode < 400 || statusCode > 499) return undefined;
  // Of files: whether there is one that nobody may have is not told.
  if (statusCode === 403 || statusCode === 404) return { problem: noSuchResource };
  return { problem: problemOf(statusCode, fastifyCodes[code ?? ''] ?? 'bad-request', message) };
}

const noSuchResource = problemOf(404, 'no-such-resource', 'there is nothing under this path');

function problemOf(status: number, code: string, detail: string): Problem {
  return { type: 'about:blank', title: STATUS_CODES[status] ?? 'Error', status, code, detail };
}

/** Answers with the error's problem document; the exact code goes into the log and to the observer. */
export function sendProblem(
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
  { observer, problemType = () => 'about:blank' }: Pick<HttpAppOptions, 'observer' | 'problemType'>,
): void {
  const { problem, headers } = toHttpAnswer(error, schemeOf(request));
  const code = error instanceof GridringError ? error.code : problem.code;
  observer?.refused(code);
  if (problem.status === 500) request.log.error({ err: error }, 'request failed');
  else request.log.info({ code, reason: (error as Error).message }, 'request refused');
  if (hasLongRest(request.raw)) reply.header('connection', 'close');
  if (problem.retryAfterS !== undefined) reply.header('retry-after', problem.retryAfterS);
  void reply
    .headers({ ...headers, 'x-request-id': request.id })
    .code(problem.status)
    .type('application/problem+json')
    .send(
      JSON.stringify({
        ...{ ...problem, type: problemType(problem.code), requestId: request.id },
        ...traceIdOf(request),
      }),
    );
}

/** The trace that the caller says its request belongs to. */
export function traceIdOf({ headers }: Pick<IncomingMessage, 'headers'>): { readonly traceId?: string } {
  const trace = parseTraceparent(headers['traceparent']);
  return trace ? { traceId: trace.traceId } : {};
}

/** In which the caller has shown a token. */
const schemeOf = ({ headers }: FastifyRequest): 'Bearer' | 'DPoP' =>
  /^DPoP /i.test(headers.authorization ?? '') ? 'DPoP' : 'Bearer';

/** What is left of a short body is read and dropped; a long one is not waited for. */
const hasLongRest = ({ complete, headers }: IncomingMessage): boolean =>
  !complete && (headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 16_384);

const socketProblems: Readonly<Record<string, Problem>> = {
  HPE_HEADER_OVERFLOW: problemOf(431, 'headers-too-large', 'the header fields are too large'),
  HPE_CHUNK_EXTENSIONS_OVERFLOW: problemOf(413, 'too-large', 'the chunk extensions are too large'),
  ERR_HTTP_REQUEST_TIMEOUT: problemOf(408, 'request-timeout', 'the request did not arrive in time'),
};
const malformed = problemOf(400, 'request-malformed', 'this is not a valid HTTP request');

/** For what never became a request. Nothing is written into a response that is under way. */
export function answerOnSocket(code: string, socket: Socket, responseUnderWay: boolean): void {
  if (code === 'ECONNRESET' || responseUnderWay || !socket.writable) {
    socket.destroy();
    return;
  }
  const problem = socketProblems[code] ?? malformed;
  const body = JSON.stringify(problem);
  socket.write(
    `HTTP/1.1 ${problem.status} ${problem.title}\r\nConnection: close\r\nContent-Type: application/problem+json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
  socket.destroySoon();
}

/** RFC 9110 §10.1.1: an expectation other than 100-continue. */
export function refuseExpectation(_request: IncomingMessage, response: ServerResponse): void {
  const body = JSON.stringify(problemOf(417, 'expectation-failed', 'only 100-continue is understood'));
  const headers = { 'content-type': 'application/problem+json', 'content-length': Buffer.byteLength(body) };
  response.writeHead(417, { ...headers, connection: 'close' }).end(body);
}
