/** The CoRE Resource Directory (RFC 9176) of a backend, over CoAP: the same Things, and endpoints that register there. */
import { setImmediate } from 'node:timers/promises';
import { limits as sizes } from '../../crypto/limits.js';
import type { Suite } from '../../crypto/suite.js';
import type { Directory } from '../../things/directory.js';
import { EndpointIndex } from '../../things/endpoint-index.js';
import type { LookupEndpoint } from '../../things/endpoint-lookup.js';
import type { Endpoints } from '../../things/endpoints.js';
import type { Log } from '../../things/parts.js';
import type { BackendEvents } from '../../things/stores.js';
import { CoapEndpoint, type CoapLimits } from '../bindings/coap-endpoint.js';
import { formatFor } from '../bindings/coap-formats.js';
import type { CoapObserver } from '../bindings/coap-gate.js';
import { RateLimit, type RateLimits } from '../bindings/rate-limit.js';
import { findCoreResource, lookupAgain, type CoreResources } from './resources.js';
import { Registrants, type RegistrantLimits } from './registrants.js';

interface CoreDirectoryLimits {
  readonly coap: Partial<CoapLimits>;
  /** Of each address. */
  readonly registrations: RateLimits;
  readonly lookups: RateLimits;
  /** Of all together: addresses are easily forged, and each lookup goes through everything. */
  readonly lookupsOfAll: RateLimits;
  readonly registrants: RegistrantLimits;
  /** Observers are told of what has changed in so much time at once. */
  readonly settleMs: number;
}

export const coreDirectoryDefaults: CoreDirectoryLimits = {
  coap: {
    ...{ bodyBytes: sizes.linkFormat, observers: 64, observersOfSource: 16 },
    // Anybody's requests are answered with up to 1,024 bytes each, retransmissions too: no more for a forged address.
    rate: { perSecond: 100, burst: 400, sources: 4_096 },
  },
  registrations: { perSecond: 2, burst: 40, sources: 4_096 },
  lookups: { perSecond: 10, burst: 50, sources: 4_096 },
  lookupsOfAll: { perSecond: 20, burst: 100, sources: 1 },
  registrants: {
    asking: { perSecond: 0.2, burst: 10, sources: 4_096 },
    asked: 8,
    waiting: 64,
    client: {
      deadlineMs: 5_000,
      blockTries: 2,
      transferDeadlineMs: 20_000,
      bodyBytes: sizes.thingDescription,
      observeRefreshMs: 60_000,
    },
  },
  settleMs: 500,
};

export interface CoreDirectoryParts {
  readonly endpoints: Endpoints;
  readonly directory: Directory;
  readonly events: BackendEvents;
  readonly suite: Suite;
  readonly log: Log;
  /** Whether everybody may look up what is registered, and whether everybody may register. */
  readonly isOpen: boolean;
  readonly openRegistration: boolean;
  /** UDP; port 0 takes a free one. */
  readonly listen: { readonly address: string; readonly port: number };
  readonly observer?: CoapObserver;
  /** Id of the directory's own entry. */
  readonly directoryId: string;
  /** Origin of the directory over HTTP. */
  readonly url: string;
  readonly limits?: Partial<CoreDirectoryLimits>;
}

export interface CoreDirectory {
  readonly port: number;
  close(): Promise<void>;
}

/** @throws SetupError `port-unusable` */
export async function runCoreDirectory(parts: CoreDirectoryParts): Promise<CoreDirectory> {
  const { endpoints, directory, suite, url, log, listen, observer } = parts;
  const limits = { ...coreDirectoryDefaults, ...parts.limits };
  const tdUrlOf = (id: string): string => `${url}/things/${encodeURIComponent(id)}`;
  const registrants = new Registrants(endpoints, limits.registrants, log);
  const resources: CoreResources = {
    ...{ endpoints, registrants, isOpen: parts.isOpen, openRegistration: parts.openRegistration },
    index: new EndpointIndex(endpoints, directory, { suite, formatFor, tdUrlOf, pause: setImmediate }),
    td: async () => JSON.stringify(directory.retrieved(await directory.entry(parts.directoryId))),
    rates: {
      registrations: new RateLimit(limits.registrations),
      lookups: new RateLimit(limits.lookups),
      lookupsOfAll: new RateLimit(limits.lookupsOfAll),
    },
  };
  const coap = new CoapEndpoint({ ...listen, limits: limits.coap, ...(observer && { observer }) }, (request) =>
    findCoreResource(resources, request),
  );
  await coap.start();
  const endTelling = tellObservers(parts, limits.settleMs, coap, resources);
  return {
    port: coap.port,
    close: async () => {
      await endTelling();
      registrants.close();
      await coap.stop();
    },
  };
}

/** Tells those who observe a lookup of what it finds now, where that is something else. */
function tellObservers(
  { events, log }: Pick<CoreDirectoryParts, 'events' | 'log'>,
  settleMs: number,
  coap: CoapEndpoint,
  resources: CoreResources,
): () => Promise<void> {
  let told = new Map<string, string>();
  let seen: readonly LookupEndpoint[] | undefined;
  let timer: NodeJS.Timeout | undefined;
  let telling = Promise.resolve();
  const tell = async (): Promise<void> => {
    const endpoints = await resources.index.current();
    if (endpoints === seen) return;
    seen = endpoints;
    const now = new Map<string, string>();
    for (const id of coap.observed) {
      const reply = lookupAgain(endpoints, id);
      const text = Buffer.from(reply.payload ?? []).toString();
      if (told.get(id) !== text) coap.notify(id, reply);
      if (reply.code === '2.05') now.set(id, text);
      else coap.forgetObservers(id);
    }
    told = now;
  };
  const asleep = events.onWake(() => {
    if (coap.observed.length === 0) return;
    timer ??= setTimeout(() => {
      timer = undefined;
      telling = telling.then(tell).catch((error: unknown) => {
        log.warn({ err: error }, 'observers of the directory could not be told');
      });
    }, settleMs);
  });
  return async () => {
    asleep();
    clearTimeout(timer);
    await telling;
  };
}
