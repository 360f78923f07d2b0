/** What those who operate a backend see of it: its needs, and what it has counted. */
import { X509Certificate } from 'node:crypto';
import { toHex } from '../../crypto/bytes.js';
import type { BackendOptions } from '../backend.js';
import { isPostgresUrl } from '../database-url.js';
import type { RestContext } from '../rest/context.js';
import type { BackendStores } from '../stores/backend.js';
import { roomIn } from './readiness.js';

export function operateBackend(
  { database, dataDir, identity, operations }: BackendOptions,
  store: BackendStores,
  { readiness, backend, audit, hub }: RestContext,
): void {
  readiness.add('database', async () => {
    await backend.refresh();
    await store.assertCurrent();
    return undefined;
  });
  if (database === undefined || !isPostgresUrl(database)) readiness.add('disk', () => roomIn(dataDir));
  if (!operations) return;
  const { metrics } = operations;
  const [leaf] = identity.certificates;
  if (leaf) metrics.certificate(identity.id, Date.parse(new X509Certificate(leaf).validTo) / 1000);
  metrics.gauge({
    name: 'events_position',
    help: 'How many epochs were recorded and lists published',
    labels: ['topic'],
    read: async () =>
      Object.entries<number>({ ...(await store.events.positions()) }).map(([topic, value]) => ({
        value,
        labels: { topic },
      })),
  });
  metrics.gauge({
    name: 'membership_not_after_seconds',
    help: 'When the newest membership list of a group ends, Unix time',
    labels: ['gid'],
    read: async () =>
      backend.memberships.map(({ list }) => ({ value: list.notAfterS, labels: { gid: toHex(list.gid) } })),
  });
  metrics.gauge({
    name: 'audit_entries',
    help: 'Entries of the audit log, and how many of them a checkpoint is signed for',
    labels: ['state'],
    read: async () => {
      const { sequence, checkpoint } = await audit.store.head();
      return [
        { value: sequence, labels: { state: 'written' } },
        { value: checkpoint?.sequence ?? 0, labels: { state: 'signed' } },
      ];
    },
  });
  metrics.gauge({
    name: 'event_streams',
    help: 'Streams of events that are open',
    read: async () => [{ value: hub.openStreams }],
  });
  const { pool } = store;
  if (!pool) metrics.fileSystem(dataDir);
  if (!pool) return;
  metrics.gauge({
    name: 'database_connections',
    help: 'Of the pool, and how many requests wait for one',
    labels: ['state'],
    read: async () => Object.entries<number>({ ...pool() }).map(([state, value]) => ({ value, labels: { state } })),
  });
}
