/**
 * What a route says of itself, once: its validation and its place in the OpenAPI description are made from this.
 *
 *   scope.get('/meters', { onRequest: access.needs('meters:read'), schema: operation({
 *     id: 'listMeters', tag: 'Meters', summary: 'The meters that the caller may see',
 *     query: { after: certHashHex, limit: page }, gives: { 200: json('meters', 'One page of meters') },
 *   }) }, handler);
 *
 * A payload is a file of td/schemas/, named in payloads.ts. Path parameters are all required, query fields all optional,
 * and what is not named is refused. Whom it lets in follows from its guard. A code that is new goes into problem-codes.ts.
 */
import type { FastifySchema } from 'fastify';
import type { Deprecation } from './deprecation.js';
import { cborType, coseType, jsonType } from '../bindings/media-types.js';
import { payload, type PayloadName } from './payloads.js';
import { pathParams, queryFields } from './validation.js';

export const tags = {
  Meters:
    'Chains of meters: sealed readings, gap reports, checkpoints and grants. What a caller may not read does not exist for it.',
  Groups: 'Groups, their signed membership lists and policies.',
  Epochs: 'Recorded epochs with their records and proofs. Metadata only: no key is here.',
  Commands: 'Signed commands of operators to members of a group, and their receipts. Both are sealed.',
  Audit: 'Who did what, or was refused it: a hash chain, with checkpoints that the backend signs.',
  Enrolments: 'How devices come to certificates. The key that signs these is in no server.',
  Accounts: 'People, their roles, and who the caller is.',
  Exports: 'Everything of one kind in one answer, a line for each. What is sealed stays sealed.',
  Events: 'Server-sent events, resumable with Last-Event-ID.',
  Directory: 'The Things API of W3C WoT Discovery.',
  Service: 'Who and how this backend is.',
} as const;

type Properties = Readonly<Record<string, object>>;

/** An answer as OpenAPI describes it. */
interface Answer {
  readonly description: string;
  readonly content?: Readonly<Record<string, { readonly schema: object }>>;
  readonly headers?: Properties;
  /** Fastify's way to say that there is no body. */
  readonly type?: 'null';
}

export interface Operation {
  readonly id: string;
  readonly tag: keyof typeof tags;
  readonly summary: string;
  readonly description?: string;
  readonly params?: Properties;
  readonly query?: Properties;
  readonly body?: object;
  /** Whether the same request again under an Idempotency-Key is answered and not done again; see idempotency.ts. */
  readonly creates?: boolean;
  readonly gives: Readonly<Record<number, Answer>>;
  /** Statuses of refusals beyond those that every operation may give. */
  readonly refuses?: readonly number[];
  /** Where it is to go. */
  readonly deprecation?: Deprecation;
}

const idempotencyHeaders = {
  type: 'object',
  properties: {
    'idempotency-key': {
      type: 'string',
      description:
        'Chosen by the caller, and known for 24 hours: the same request under it is answered as the first time.',
      pattern: '^[\\x21-\\x7e]{1,128}$',
    },
  },
};

/** Any request can be malformed, above the rate, or come at a bad time. */
const ofAny = [400, 429, 431, 500, 503];

export function operation(description: Operation): FastifySchema {
  const {
    id,
    tag,
    params,
    query = {},
    body,
    gives,
    refuses = [],
    creates = false,
    deprecation,
    ...texts
  } = description;
  return {
    ...texts,
    operationId: id,
    tags: [tag],
    ...(deprecation && { deprecated: true, 'x-deprecation': deprecation }),
    ...(params && { params: pathParams(params) }),
    querystring: queryFields(query),
    ...(creates && { headers: idempotencyHeaders }),
    ...(body && { body }),
    response: gives,
    // Replaced by references to the common answers when the description is made.
    'x-refusals': [
      ...ofAny,
      ...(params ? [404, 414] : []),
      ...(body ? [413, 415] : []),
      ...(creates ? [409, 422] : []),
      ...refuses,
    ],
  } as FastifySchema;
}

export const json = (name: PayloadName, description: string): Answer => ({
  description,
  content: { [jsonType]: { schema: payload(name) } },
});

export const noContent = (description: string): Answer => ({ description, type: 'null' });

export const stream = (mediaType: string, description: string): Answer => ({
  description,
  content: { [mediaType]: { schema: { type: 'string' } } },
});

type MessageName = Extract<PayloadName, `message.${string}`>;

/** A message of the protocol, as JSON or as its bytes. */
const eitherWay = (name: MessageName, bytesType: string): NonNullable<Answer['content']> => ({
  [jsonType]: { schema: payload(name) },
  [bytesType]: { schema: { description: 'The bytes of the message' } },
});

export const messageBody = (name: MessageName): object => ({ content: eitherWay(name, coseType) });

/** In the form in which the request came. */
export const messageAnswer = (name: MessageName, description: string): Answer => ({
  description,
  content: eitherWay(name, coseType),
});

/** In the form that Accept asks for. */
export const storedMessage = (name: MessageName, description: string): Answer => ({
  description,
  content: eitherWay(name, cborType),
});
