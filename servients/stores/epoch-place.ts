import type { EpochPlace } from '../../things/stores.js';

/** Epochs are u32. */
export const beyondAllEpochs: EpochPlace = { epoch: 2 ** 32, attempt: 0 };
