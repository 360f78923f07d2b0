/** What a group tells of itself: events and changes for whoever watches the gateway's Thing, and lines for its log. */
import { equalBytes, toBase64Url, toHex } from '../crypto/bytes.js';
import { GridringError } from '../crypto/errors.js';
import type { Membership } from '../crypto/membership.js';
import type { KeyName } from '../crypto/ring/schedule.js';
import type { ThingEmitter } from './behaviour.js';
import type { MemberAction } from './epoch-run.js';
import { isoTime, type MemberChange } from './gateway-status.js';
import type { Log } from './parts.js';
import type { KeptVerdict } from './stores.js';

interface NewsParts {
  readonly log: Log;
  readonly nowS: () => number;
}

export class GroupNews {
  readonly #parts: NewsParts;
  readonly #gid: string;
  readonly #emitter: () => ThingEmitter | undefined;

  constructor(parts: NewsParts, gid: string, emitter: () => ThingEmitter | undefined) {
    this.#parts = parts;
    this.#gid = gid;
    this.#emitter = emitter;
  }

  keyStatusChanged(): void {
    this.#emitter()?.propertyChanged('keyStatus');
  }

  rekeyed({ epoch, attempt, th2 }: KeyName, members: number): void {
    this.keyStatusChanged();
    const keyName = toHex(th2.subarray(0, 8));
    this.#event('rekeyed', { epoch, attempt, keyName, members });
  }

  memberChanged(membership: Membership, member: Uint8Array, change: MemberChange): void {
    const id = idOf(membership, member);
    this.#parts.log.info({ gid: this.#gid, member: id, change }, 'member changed');
    this.#event('memberChanged', {
      id: `urn:gridring:meter:${id ?? 'unknown'}`,
      certHash: toHex(member),
      change,
    });
  }

  memberFailed(membership: Membership, member: Uint8Array, action: MemberAction, error: unknown): void {
    const id = idOf(membership, member);
    const code = error instanceof GridringError ? error.code : 'internal';
    this.#parts.log.warn({ gid: this.#gid, member: id, action, code, err: error }, 'a member did not take a message');
  }

  verdict(membership: Membership, { epoch, attempt, message }: KeptVerdict, accused: readonly Uint8Array[]): void {
    const ids = accused.map((member) => idOf(membership, member));
    this.#parts.log.warn({ gid: this.#gid, epoch, attempt, accused: ids }, 'a verdict names who spoilt an attempt');
    this.#event('verdict', { epoch, attempt, message: toBase64Url(message) });
  }

  #event(name: string, data: object): void {
    this.#emitter()?.event(name, { gid: this.#gid, ...data, time: isoTime(this.#parts.nowS()) });
  }
}

const idOf = ({ list, certificates }: Membership, member: Uint8Array): string | undefined =>
  certificates[list.entries.findIndex(({ certHash }) => equalBytes(certHash, member))]?.id;
