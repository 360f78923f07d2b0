/** How full a disk is, as properties show it. */
import type { DiskStatus } from './stores.js';

/** Of the budget. Early enough for somebody to make room, or to mend what keeps an outbox from being emptied. */
const alarmAt = 0.8;

export const isNearlyFull = ({ usedBytes, budgetBytes }: DiskStatus): boolean =>
  budgetBytes !== null && usedBytes >= alarmAt * budgetBytes;

export const diskOf = (disk: DiskStatus): object => ({
  usedBytes: disk.usedBytes,
  ...(disk.budgetBytes !== null && { budgetBytes: disk.budgetBytes }),
  nearlyFull: isNearlyFull(disk),
});
