/** A meter's store without a disk: what the disk costs is the difference. */
import { toHex } from '../crypto/bytes.js';
import type { DiskStatus, MeterStore, OutboxItem, OutboxStatus, SetAside } from '../things/stores.js';

export class MemoryMeterStore implements MeterStore {
  readonly #members = new Map<string, { readonly gid: Uint8Array; readonly state: Uint8Array }>();
  readonly #memberships = new Map<string, Uint8Array>();
  readonly #outbox: (OutboxItem & { readonly addedS: number })[] = [];
  readonly #setAside: (OutboxItem & { readonly addedS: number; readonly code: string })[] = [];
  #sealing: Uint8Array | undefined;
  #lastPosition = 0;
  #home: Uint8Array | undefined;
  #obeying: Uint8Array | undefined;

  async loadMember(gid: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#members.get(toHex(gid))?.state;
  }

  async saveMember(gid: Uint8Array, state: Uint8Array): Promise<void> {
    this.#members.set(toHex(gid), { gid, state });
  }

  async groups(): Promise<readonly Uint8Array[]> {
    return [...this.#members.values()].map(({ gid }) => gid);
  }

  async loadMembership(gid: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#memberships.get(toHex(gid));
  }

  async saveMembership(gid: Uint8Array, bundle: Uint8Array, member: Uint8Array): Promise<void> {
    this.#memberships.set(toHex(gid), bundle);
    await this.saveMember(gid, member);
  }

  async loadSealing(): Promise<Uint8Array | undefined> {
    return this.#sealing;
  }

  async saveSealing(sealing: Uint8Array, items: readonly Omit<OutboxItem, 'position'>[], nowS: number): Promise<void> {
    this.#sealing = sealing;
    for (const item of items) this.#outbox.push({ ...item, position: ++this.#lastPosition, addedS: nowS });
  }

  async pending(maxItems: number, maxBytes: number, afterPosition = 0): Promise<readonly OutboxItem[]> {
    let bytes = 0;
    return this.#outbox
      .filter(({ position }) => position > afterPosition)
      .slice(0, maxItems)
      .filter(({ message }, i) => (bytes += message.length) <= maxBytes || i === 0);
  }

  async acknowledge(positions: readonly number[]): Promise<void> {
    const known = new Set(positions);
    this.#outbox.splice(0, Infinity, ...this.#outbox.filter(({ position }) => !known.has(position)));
  }

  async hold(positions: readonly number[]): Promise<void> {
    await this.acknowledge(positions);
  }

  async heldCount(): Promise<number> {
    return 0;
  }

  async loadObeying(): Promise<Uint8Array | undefined> {
    return this.#obeying;
  }

  async saveObeying(state: Uint8Array): Promise<void> {
    this.#obeying = state;
  }

  async loadHome(): Promise<Uint8Array | undefined> {
    return this.#home;
  }

  async saveHome(home: Uint8Array): Promise<void> {
    this.#home = home;
  }

  async outboxStatus(): Promise<OutboxStatus> {
    const bytes = this.#outbox.reduce((sum, { message }) => sum + message.length, 0);
    return { depth: this.#outbox.length, bytes, oldestS: this.#outbox[0]?.addedS ?? null };
  }

  async setAside(position: number, code: string): Promise<void> {
    const item = this.#outbox.find((each) => each.position === position);
    if (!item) return;
    this.#setAside.push({ ...item, code });
    await this.acknowledge([position]);
  }

  async setAsideStatus(): Promise<SetAside> {
    return { count: this.#setAside.length, lastCode: this.#setAside.at(-1)?.code ?? null };
  }

  async putBack(): Promise<void> {
    this.#outbox.push(...this.#setAside.splice(0));
    this.#outbox.sort((a, b) => a.position - b.position);
  }

  async diskStatus(): Promise<DiskStatus> {
    return { usedBytes: 0, budgetBytes: null };
  }
}
