/** Who observes what (RFC 7641): one confirmable notification at a time for each observer, and a bounded backlog. */
import type { Downloads } from './coap-blocks.js';
import type { CoapObserver, Notifications } from './coap-gate.js';
import type { Reply } from './coap-message.js';
import type { CoapRequest } from './coap-request.js';

export interface ObserverLimits {
  readonly observers: number;
  /** Of one address. */
  readonly observersOfSource: number;
  /** Events that wait for one observer's acknowledgement; beyond, the oldest is dropped. */
  readonly backlog: number;
}

/** A state is worth only its newest value; every event counts. */
export type Observed = 'state' | 'events';

class Observation {
  readonly #notifications: Notifications;
  readonly #transferKey: string;
  readonly #backlogLimit: number;
  readonly #downloads: Downloads;
  readonly #observer: CoapObserver;
  #backlog: readonly Reply[] = [];
  readonly source: string;
  /** Until the registration is confirmed, and while a notification is not acknowledged. */
  #busy = true;

  constructor(
    notifications: Notifications,
    { source, transferKey }: Pick<CoapRequest, 'source' | 'transferKey'>,
    backlogLimit: number,
    downloads: Downloads,
    observer: CoapObserver,
  ) {
    this.#notifications = notifications;
    this.source = source;
    this.#transferKey = transferKey;
    this.#backlogLimit = backlogLimit;
    this.#downloads = downloads;
    this.#observer = observer;
  }

  notify(reply: Reply): void {
    this.#backlog = [...this.#backlog, reply];
    if (this.#backlog.length > this.#backlogLimit) {
      this.#backlog = this.#backlog.slice(1);
      if (this.#backlogLimit > 1) this.#observer.dropped('observer-backlog');
    }
    if (!this.#busy) this.sendNext();
  }

  sendNext(): void {
    const [next, ...rest] = this.#backlog;
    this.#backlog = rest;
    this.#busy = next !== undefined;
    if (next !== undefined) this.#notifications.notify(this.#downloads.begin(this.#transferKey, next, undefined));
  }
}

export class Observers {
  readonly #limits: ObserverLimits;
  readonly #downloads: Downloads;
  readonly #observer: CoapObserver;
  /** By resource, then by endpoint and token. */
  readonly #observations = new Map<string, Map<string, Observation>>();

  constructor(limits: ObserverLimits, downloads: Downloads, observer: CoapObserver) {
    this.#limits = limits;
    this.#downloads = downloads;
    this.#observer = observer;
  }

  /**
   * Registers an observer, in place of an earlier registration with the same token. What is announced meanwhile waits
   * until the returned function is called, once the registration is confirmed. Undefined when there is no room.
   */
  add(
    resource: string,
    observed: Observed,
    request: CoapRequest,
    notifications: Notifications,
  ): (() => void) | undefined {
    const { observerKey, source } = request;
    const observations = this.#observations.get(resource) ?? new Map<string, Observation>();
    if (!observations.has(observerKey) && !this.#hasRoomFor(source)) return undefined;
    const backlog = observed === 'state' ? 1 : this.#limits.backlog;
    const observation = new Observation(notifications, request, backlog, this.#downloads, this.#observer);
    this.#observations.set(resource, observations.set(observerKey, observation));
    const sendNext = (): void => {
      observation.sendNext();
    };
    notifications.listen(sendNext, () => {
      if (this.#observations.get(resource)?.get(observerKey) === observation) this.remove(resource, observerKey);
    });
    return sendNext;
  }

  #hasRoomFor(source: string): boolean {
    const all = [...this.#observations.values()].flatMap((observations) => [...observations.values()]);
    const { observers, observersOfSource } = this.#limits;
    return all.length < observers && all.filter((each) => each.source === source).length < observersOfSource;
  }

  remove(resource: string, observerKey: string): void {
    const observations = this.#observations.get(resource);
    observations?.delete(observerKey);
    // Resources with a query are as many as somebody thinks of.
    if (observations?.size === 0) this.#observations.delete(resource);
  }

  notify(resource: string, reply: Reply): void {
    for (const observation of this.#observations.get(resource)?.values() ?? []) observation.notify(reply);
  }

  /** The resources that somebody observes. */
  get observed(): readonly string[] {
    return [...this.#observations.keys()];
  }

  /** Forgets everybody who observes the resource. */
  clear(resource: string): void {
    this.#observations.delete(resource);
  }
}
