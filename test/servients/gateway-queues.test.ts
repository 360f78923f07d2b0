/** What a gateway does for many, one after the other: nobody for whom it fails keeps the others waiting. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { BackendClient } from '../../servients/backend-client.js';
import type { DirectoryClient } from '../../servients/directory-client.js';
import { PeerRefusal } from '../../servients/bindings/peer-refusal.js';
import { ListExchange } from '../../servients/gateway-lists.js';
import { Registrations } from '../../servients/registrations.js';
import type { Runtime } from '../../servients/runtime.js';
import type { Coordination } from '../../things/coordination.js';

const runtime = { log: { warn: vi.fn(), info: vi.fn() }, emit: vi.fn(), version: '0.1.0' } as unknown as Runtime;
let running: AbortController;
beforeEach(() => {
  vi.useFakeTimers();
  // Of pauses between failures.
  vi.spyOn(Math, 'random').mockReturnValue(0.5);
  running = new AbortController();
});
afterEach(() => {
  running.abort();
  vi.useRealTimers();
  vi.mocked(Math.random).mockRestore();
});

it('registers every other meter while the directory refuses one', async () => {
  const registered: string[] = [];
  const settled = vi.fn();
  const register = async (id: string): Promise<void> => {
    if (id === 'urn:refused') throw new PeerRefusal(403, 'not-owner', 'the entry is of another gateway');
    registered.push(id);
  };
  const client = { register } as unknown as DirectoryClient;
  const registrations = new Registrations(client, runtime, settled);
  for (const id of ['urn:refused', 'urn:a', 'urn:b']) registrations.add(id, () => ({}));
  void registrations.run(running.signal);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(registered).toEqual(['urn:a', 'urn:b']);
  expect(registrations.pending).toBe(1);
  registrations.add('urn:c', () => ({}));
  await vi.advanceTimersByTimeAsync(0);
  expect(registered).toContain('urn:c');
  expect(settled).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(60_000);
  // It is tried on, and nobody waits for it any more.
  expect(registrations.pending).toBe(0);
  expect(settled).toHaveBeenCalled();
});

it('compares the lists of every other group while the backend refuses that of one', async () => {
  const updateMembership = vi.fn().mockResolvedValue(undefined);
  const group = (fill: number): Coordination =>
    ({
      gid: String(fill),
      membership: { list: { gid: new Uint8Array(16).fill(fill) }, listHash: new Uint8Array(32) },
      membershipBundle: new Uint8Array(1),
      updateMembership,
    }) as unknown as Coordination;
  const groups = [group(1), group(2)];
  const backend = {
    membership: async (gid: Uint8Array) => {
      if (gid[0] === 1) throw new PeerRefusal(404, 'group-unknown', 'no list of that group');
      return Uint8Array.of(2);
    },
    publishMembership: async () => {
      throw new PeerRefusal(403, 'refused', 'it has ended');
    },
    listenFor: () => new Promise(() => undefined),
  };
  void new ListExchange(groups, backend as unknown as BackendClient, runtime).watch.run(running.signal);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(updateMembership).toHaveBeenCalledWith(Uint8Array.of(2));
});
