/**
 * node-wot's HTTP client, with a deadline, and with refusals that keep what the peer said: its own errors carry the
 * reason phrase alone.
 */
import bindingHttp, { type HttpForm, type HTTPMethodName } from '@node-wot/binding-http';
import type { ProtocolClient } from '@node-wot/core';
import type { Request, RequestInit, Response } from 'node-fetch';
import { refusalOf } from './peer-refusal.js';

// A CommonJS module whose names Node does not find.
const { HttpClient, HttpClientFactory } = bindingHttp;
type HttpClient = InstanceType<typeof HttpClient>;

/** A problem document; what is longer is cut off. */
const maxProblemBytes = 4_096;

/** Headers that show who sends a request; undefined where nobody is known there. */
export type Authorize = (method: string, url: string) => Promise<Readonly<Record<string, string>> | undefined>;

export class RefusingHttpClientFactory extends HttpClientFactory {
  readonly #deadlineMs: number;
  readonly #authorize: Authorize | undefined;

  /**
   * @param deadlineMs how long a request may take until its body has arrived
   * @param authorize takes the place of node-wot's credentials, which know no proofs of possession
   */
  constructor(deadlineMs = 10_000, authorize?: Authorize) {
    super();
    this.#deadlineMs = deadlineMs;
    this.#authorize = authorize;
  }

  override getClient(): ProtocolClient {
    return new RefusingHttpClient(this.#deadlineMs, this.#authorize);
  }
}

/** Statuses of 400 and above are thrown as PeerRefusal. */
class RefusingHttpClient extends HttpClient {
  readonly #deadlineMs: number;
  readonly #authorize: Authorize | undefined;

  constructor(deadlineMs: number, authorize: Authorize | undefined) {
    super();
    this.#deadlineMs = deadlineMs;
    this.#authorize = authorize;
  }

  override setSecurity(...given: Parameters<HttpClient['setSecurity']>): boolean {
    return this.#authorize !== undefined || super.setSecurity(...given);
  }

  protected override generateFetchRequest(
    form: HttpForm,
    method: HTTPMethodName,
    init: RequestInit = {},
  ): Promise<Request> {
    // A long poll waits as long as it takes.
    const signal = form.subprotocol === 'longpoll' ? null : AbortSignal.timeout(this.#deadlineMs);
    return super.generateFetchRequest(form, method, { ...init, signal });
  }

  protected override async _fetch(request: Request): Promise<Response> {
    const shown = await this.#authorize?.(request.method, request.url);
    for (const [name, value] of Object.entries(shown ?? {})) request.headers.set(name, value);
    const response = await super._fetch(request);
    if (response.status < 400) return response;
    throw refusalOf(response.status, await firstBytes(response.body));
  }
}

async function firstBytes(body: NodeJS.ReadableStream): Promise<Uint8Array> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of body) {
    parts.push(Buffer.from(part));
    length += part.length;
    if (length > maxProblemBytes) break;
  }
  return Buffer.concat(parts).subarray(0, maxProblemBytes);
}
