/** What those who operate a gateway or a meter see of its outbox and disk. */
import type { Outbox } from '../../things/stores.js';
import { systemNowS } from '../runtime.js';
import type { Operations } from './operations.js';

export function operateOutbox(
  { metrics, readiness }: Operations,
  { id, dataDir }: { readonly id: string; readonly dataDir: string },
  store: Outbox,
): void {
  metrics.outbox(id, store, systemNowS);
  metrics.fileSystem(dataDir);
  // Beyond it nothing more is taken; before, there is an alarm and time.
  readiness.add(`disk of ${id}`, async () => {
    const { usedBytes, budgetBytes } = await store.diskStatus();
    return budgetBytes === null || usedBytes < budgetBytes ? undefined : 'the budget is used up';
  });
}
