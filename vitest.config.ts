import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    projects: [
      { extends: true, test: { name: 'short', include: ['test/**/*.test.ts'], exclude: ['test/long/**'] } },
      { extends: true, test: { name: 'long', include: ['test/long/**/*.test.ts'] } },
    ],
    // Of processes on a busy machine.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    reporters: ['default'],
    // More than cores: many tests wait, for the processes that they start or for a network.
    maxWorkers: Math.ceil(availableParallelism() * 1.5),
    // Modules are loaded once for all files of a worker: loading them anew took a third of the whole time.
    isolate: false,
  },
});
