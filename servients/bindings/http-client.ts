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

/** A problem document; what is longer is cut off. */
const maxProblemBytes = 4_096;

export class RefusingHttpClientFactory extends HttpClientFactory {
  readonly #deadlineMs: number;

  /** `deadlineMs`: how long a request may take until its body has arrived. */
  constructor(deadlineMs = 10_000) {
    super();
    this.#deadlineMs = deadlineMs;
  }

  override getClient(): ProtocolClient {
    return new RefusingHttpClient(this.#deadlineMs);
  }
}

/** Statuses of 400 and above are thrown as PeerRefusal. */
class RefusingHttpClient extends HttpClient {
  readonly #deadlineMs: number;

  constructor(deadlineMs: number) {
    super();
    this.#deadlineMs = deadlineMs;
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
