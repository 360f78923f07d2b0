/**
 * Calls the members that have not enrolled here: a gateway that takes another's place is nobody whom they would look for.
 * Each is given the list that names this gateway, and its signed word where it is.
 */
import { toHex } from '../crypto/bytes.js';
import { ConflictError } from '../crypto/errors.js';
import { signHome } from '../crypto/home.js';
import { findEntry } from '../crypto/membership.js';
import type { Suite } from '../crypto/suite.js';
import type { Coordination } from '../things/coordination.js';
import type { Gateway } from '../things/gateway.js';
import type { Identity } from '../things/parts.js';
import { PeerRefusal } from './bindings/peer-refusal.js';
import { invokeMessage } from './consume.js';
import type { Discovery } from './discovery.js';
import { backoffMs, codeOf, sleep, systemNowS, type Runtime } from './runtime.js';

interface SummonsParts {
  readonly suite: Suite;
  readonly identity: Identity;
  readonly gateway: Gateway;
  readonly things: Pick<Discovery, 'thing'>;
  /** URLs of this gateway's Thing Description. */
  readonly tdUrls: readonly string[];
  readonly runtime: Runtime;
}

const longestPauseMs = 10_000;

export class Summons {
  readonly #parts: SummonsParts;

  constructor(parts: SummonsParts) {
    this.#parts = parts;
  }

  /** Until all have enrolled. */
  async run(signal: AbortSignal): Promise<void> {
    for (let rounds = 0; !signal.aborted && (await this.#summonAll(signal)); rounds++) {
      await sleep(500 + backoffMs(rounds, undefined, longestPauseMs), signal);
    }
  }

  /** @returns whether some are missing */
  async #summonAll(signal: AbortSignal): Promise<boolean> {
    const { gateway, runtime } = this.#parts;
    const enrolled = new Set(gateway.enrolments.map(({ certHash }) => toHex(certHash)));
    const missing = gateway.groups.flatMap((group) =>
      membersOf(group)
        .filter(({ certHash }) => !enrolled.has(certHash))
        .map(({ id }) => ({ group, id })),
    );
    for (const { group, id } of missing) {
      if (signal.aborted) return false;
      try {
        await this.#summon(group, id);
        runtime.emit({ event: 'summoned', id });
      } catch (error) {
        runtime.log.info({ id, code: codeOf(error) }, 'a member cannot be told where this gateway is');
      }
    }
    return missing.length > 0;
  }

  async #summon(group: Coordination, id: string): Promise<void> {
    const { suite, identity, things, tdUrls } = this.#parts;
    const thing = await things.thing(id);
    try {
      await invokeMessage(thing, 'updateMembership', group.membershipBundle);
    } catch (error) {
      if (!(error instanceof ConflictError || (error instanceof PeerRefusal && error.status === 409))) throw error;
    }
    const { gid } = group.membership.list;
    await invokeMessage(thing, 'rehome', signHome(suite, identity, { gid, tdUrls, timeS: systemNowS() }));
  }
}

function membersOf({ membership: { list, certificates } }: Coordination) {
  return list.entries.flatMap(({ certHash }, i) => {
    const id = findEntry(list, certHash, 'member') && certificates[i]?.id;
    return id === undefined ? [] : [{ id: `urn:gridring:meter:${id}`, certHash: toHex(certHash) }];
  });
}
