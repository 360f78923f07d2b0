/** A WoT client for a while: for what a command asks of Things. */
import { Servient } from '@node-wot/core';
import { CoapClientFactory } from './bindings/coap-client.js';
import { RefusingHttpClientFactory, type Authorize } from './bindings/http-client.js';
import { stopServient } from './servient.js';

/** Does the work with a client of both bindings, which gives up on a Thing that is silent for so long, and ends it. */
export async function withWot<T>(
  deadlineMs: number,
  work: (wot: typeof WoT) => Promise<T>,
  authorize?: Authorize,
): Promise<T> {
  const servient = new Servient();
  servient.addClientFactory(new CoapClientFactory({ deadlineMs }));
  servient.addClientFactory(new RefusingHttpClientFactory(deadlineMs, authorize));
  try {
    return await work(await servient.start());
  } finally {
    await stopServient(servient);
  }
}
