import { readdirSync } from 'node:fs';
import { defaultServerConditions } from 'vite';
import { defineConfig } from 'vitest/config';

// Tests run on the sources: the custom export condition makes every @alignprop/* import resolve to src/.
const conditions = ['@alignprop/source', ...defaultServerConditions];

/** One project per package, so that `vitest run --project lora` and Nx's cached `test` targets run a package alone. */
const packages = readdirSync(new URL('packages', import.meta.url)).map((name) => ({
  extends: true as const,
  test: { name, include: [`packages/${name}/src/**/*.test.ts`] },
}));

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    projects: [...packages, { extends: true, test: { name: 'tools', include: ['tools/**/*.test.ts'] } }],
    // With CI set, colours would stand in messages that tests read. Test files run side by side, each on one thread.
    env: { NO_COLOR: '1', OMP_NUM_THREADS: '1' },
    testTimeout: 600_000,
    hookTimeout: 600_000,
    pool: 'forks',
    maxWorkers: 3, // on the 2 cores of CI: some tests wait for locks, hubs and other processes
    isolate: false,
  },
});
