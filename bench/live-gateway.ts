/** A real gateway with its store, which keeps its group keyed by itself, before a neighbourhood's meters. */
import { once, EventEmitter } from 'node:events';
import { performance } from 'node:perf_hooks';
import { CertificateCache } from '../crypto/certificate/cache.js';
import { sleep } from '../servients/runtime.js';
import { openGatewayStore } from '../servients/stores/sqlite/gateway-store.js';
import type { EpochOutcome } from '../things/coordination.js';
import type { Members } from '../things/epoch-run.js';
import { Gateway } from '../things/gateway.js';
import { nowS, random, type Deployment } from './deployment.js';
import type { Neighbourhood } from './neighbourhood.js';

/** As a gateway's configuration has them by default, but the window: nobody is waited for here. */
const timing = { windowMs: 0, roundDeadlineMs: 90_000, sleeperDeadlineMs: 90_000, maxAttempts: 5 };
const longestChangeMs = 300_000;

export interface LiveGateway {
  /** Takes a list of the authority's. @returns when so many members have the key of a new epoch */
  update(membershipBundle: Uint8Array, members: number): Promise<EpochOutcome>;
  /** Resolves when no member is being called. */
  quiet(): Promise<void>;
  close(): Promise<void>;
}

/** Founds the group of all meters. @throws GridringError, AbortError when that takes too long */
export async function startGateway(deployment: Deployment, neighbourhood: Neighbourhood): Promise<LiveGateway> {
  const { suite, root, gateway: identity, membershipBundle, meters } = deployment;
  const store = openGatewayStore(neighbourhood.gatewayStorePath);
  const epochs = new EventEmitter();
  const calls = new CountedCalls(neighbourhood.members);
  const gateway = await Gateway.load(
    {
      suite,
      identity,
      trustedRoots: [root],
      certificateCache: new CertificateCache(),
      store,
      members: calls,
      nowS,
      nowMs: () => performance.now(),
      random,
      sleep,
      log: { info: () => undefined, warn: () => undefined },
      version: 'benchmark',
      ...timing,
      settled: () => true,
      tdFault: () => undefined,
      onEnrolled: () => undefined,
      onAgreement: () => undefined,
      onEpoch: (outcome) => epochs.emit('epoch', outcome),
      onFailed: () => undefined,
      onMembership: () => undefined,
    },
    [membershipBundle],
  );
  const epochOf = async (members: number): Promise<EpochOutcome> => {
    const signal = AbortSignal.timeout(longestChangeMs);
    for (;;) {
      const [outcome] = (await once(epochs, 'epoch', { signal })) as [EpochOutcome];
      if (outcome.confirmed === members) return outcome;
    }
  };
  const invoke = async (action: 'enrol' | 'updateMembership', message: Uint8Array): Promise<void> => {
    const handler = gateway.actions[action];
    if (handler?.kind !== 'message') throw new TypeError(`a gateway without ${action}`);
    await handler.invoke(message);
  };
  const running = new AbortController();
  const founded = epochOf(meters.length);
  for (const enrolment of neighbourhood.enrolments) await invoke('enrol', enrolment);
  const kept = gateway.keepKeyed(running.signal);
  await founded;
  return {
    update: async (bundle, members) => {
      const agreed = epochOf(members);
      await invoke('updateMembership', bundle);
      return agreed;
    },
    quiet: () => calls.quiet(),
    close: async () => {
      running.abort();
      gateway.stop();
      await kept;
      store.close();
    },
  };
}

/** Knows whether members are being called. */
class CountedCalls implements Members {
  readonly #members: Members;
  readonly #ended = new EventEmitter();
  #underWay = 0;

  constructor(members: Members) {
    this.#members = members;
  }

  readonly invoke: Members['invoke'] = async (member, action, message) => {
    this.#underWay++;
    try {
      return await this.#members.invoke(member, action, message);
    } finally {
      this.#underWay--;
      this.#ended.emit('call');
    }
  };

  async quiet(): Promise<void> {
    // What one call is followed by begins before the next turn of the event loop.
    do {
      if (this.#underWay > 0) await once(this.#ended, 'call');
      await new Promise(setImmediate);
    } while (this.#underWay > 0);
  }
}
