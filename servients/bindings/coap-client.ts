/** CoAP (RFC 7252, 7641, 7959) as a client of node-wot. */
import { Readable } from 'node:stream';
import { Content, Form, type ProtocolClient, type ProtocolClientFactory } from '@node-wot/core';
import { Subscription } from 'rxjs/Subscription.js';
import { MalformedError } from '../../crypto/errors.js';
import { limits as sizes } from '../../crypto/limits.js';
import type { CoapCall, CoapResponse } from './coap-agent.js';
import { formatFor, tdType, typeOf } from './coap-formats.js';
import { optionNumber, uintOption, uintValue, type CoapOption } from './coap-message.js';
import { CoapTransport, type CoapClientLimits, type CoapTarget } from './coap-transport.js';
import { jsonType } from './media-types.js';

export const coapClientDefaults: CoapClientLimits = {
  deadlineMs: 10_000,
  blockTries: 3,
  transferDeadlineMs: 120_000,
  bodyBytes: sizes.requestBody,
  observeRefreshMs: 60_000,
};

export class CoapClientFactory implements ProtocolClientFactory {
  readonly scheme = 'coap';
  readonly #transport: CoapTransport;

  constructor(limits: Partial<CoapClientLimits> = {}) {
    this.#transport = new CoapTransport({ ...coapClientDefaults, ...limits });
  }

  /** Clients are light: all share the factory's sockets. */
  getClient(): CoapClient {
    return new CoapClient(this.#transport);
  }

  init(): boolean {
    return true;
  }

  /** Fails what is waiting, ends every observation, closes the sockets. */
  destroy(): boolean {
    this.#transport.close();
    return true;
  }
}

/** Every refusal of the peer is thrown as PeerRefusal, every silence as UnavailableError; see `CoapTransport`. */
export class CoapClient implements ProtocolClient {
  readonly #transport: CoapTransport;
  readonly #endings = new Map<string, () => void>();

  constructor(transport: CoapTransport) {
    this.#transport = transport;
  }

  async readResource(form: Form): Promise<Content> {
    return contentOf(await this.#transport.request(targetOf(form, 'GET')), form);
  }

  async writeResource(form: Form, content: Content): Promise<void> {
    await this.#transport.request(await withContent(targetOf(form, 'PUT'), content));
  }

  async invokeResource(form: Form, content?: Content): Promise<Content> {
    const target = targetOf(form, 'POST');
    return contentOf(await this.#transport.request(content ? await withContent(target, content) : target), form);
  }

  async requestThingDescription(uri: string): Promise<Content> {
    const form = new Form(uri, tdType);
    return contentOf(await this.#transport.request(targetOf(form, 'GET')), form);
  }

  async subscribeResource(
    form: Form,
    next: (content: Content) => void,
    error?: (error: Error) => void,
    complete?: () => void,
  ): Promise<Subscription> {
    this.#endings.get(form.href)?.();
    const leave = await this.#transport.observe(targetOf(form, 'GET'), {
      next: (response) => {
        next(contentOf(response, form));
      },
      error: (cause) => error?.(cause),
    });
    const subscription = new Subscription(() => {
      if (this.#endings.get(form.href) === end) this.#endings.delete(form.href);
      leave();
      complete?.();
    });
    const end = (): void => {
      subscription.unsubscribe();
    };
    this.#endings.set(form.href, end);
    return subscription;
  }

  async unlinkResource(form: Form): Promise<void> {
    this.#endings.get(form.href)?.();
  }

  async start(): Promise<void> {
    // The factory's transport opens its sockets when they are needed.
  }

  /** Ends this client's observations; the sockets are the factory's. */
  async stop(): Promise<void> {
    for (const end of this.#endings.values()) end();
  }

  /** There is nothing to set: messages protect themselves. */
  setSecurity(): boolean {
    return true;
  }
}

/** The terms of the form count: `cov:method`, and the media type that is wanted. */
function targetOf(form: Form, method: CoapCall['method']): CoapTarget {
  const wanted = formatFor(form.response?.contentType ?? form.contentType ?? jsonType);
  const named = form['cov:method'];
  return {
    url: form.href,
    method: named === 'GET' || named === 'POST' || named === 'PUT' || named === 'DELETE' ? named : method,
    options: wanted === undefined ? [] : [[optionNumber.accept, uintOption(wanted)]],
  };
}

/** @throws MalformedError `media-type-unsupported` */
async function withContent(target: CoapTarget, content: Content): Promise<CoapTarget> {
  const format = formatFor(content.type);
  if (format === undefined)
    throw new MalformedError('media-type-unsupported', `CoAP cannot carry ${content.type} here`);
  const option: CoapOption = [optionNumber.contentFormat, uintOption(format)];
  return { ...target, options: [...target.options, option], payload: await content.toBuffer() };
}

function contentOf({ options, payload }: CoapResponse, form: Pick<Form, 'contentType'>): Content {
  const format = uintValue(options, optionNumber.contentFormat);
  const type = format === undefined ? undefined : typeOf(format);
  return new Content(type ?? form.contentType ?? jsonType, Readable.from([payload]));
}
