import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 20_000,
    hookTimeout: 60_000,
    reporters: ['default'],
    // vitest's default leaves a core idle, which on two is half of the machine.
    maxWorkers: '100%',
    // Modules are loaded once for all files of a worker: loading them anew took a third of the whole time.
    isolate: false,
  },
});
