// tfjs's WebGL and WebGPU in Chromium on a software adapter: the kernels that are corrected there, and some of the
// reference numbers. `npm run browser-backends` compares all.
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { bundleBackends, computeInChromium } from './backend-in-chromium.js';
import { findChromium } from './chromium.js';
import type { ComparedKernels } from './kernels.js';
import { isAbove, type Compared } from './references.js';

const chromium = findChromium();
const folder = fileURLToPath(new URL('../../fixtures', import.meta.url));
const corrected = [
  ...['addN', 'argMax', 'avgPool', 'batchNorm', 'cumprod', 'cumsum', 'integers reduced', 'maxPool', 'prod'],
  ...['resizeBilinear', 'resizeNearestNeighbor', 'stridedSlice', 'transpose of'],
];

describe.skipIf(!chromium)('a backend of a browser', () => {
  let program: string;
  beforeAll(async () => {
    program = await bundleBackends(['webgl', 'webgpu']);
  });

  describe.each(['webgl', 'webgpu'])('%s', (backend) => {
    const compute = async <T>(what: { readonly compare: string; readonly only?: string }) =>
      (await computeInChromium<T>({ chromium: chromium!, program, folder, backend, ...what })).computed;

    it('agrees with cpu in the values and gradients of corrected kernels', async () => {
      const { problems, count } = await compute<ComparedKernels>({
        compare: 'kernels',
        only: `^(${corrected.join('|')})`,
      });
      expect(problems).toEqual([]);
      expect(count).toBeGreaterThan(40);
    });

    it.each(['text encoder of SD 1.5', 'VAE of SD 2'])('agrees with reference numbers: %s', async (compare) => {
      const compared = await compute<Compared[]>({ compare });
      expect(compared.filter(isAbove)).toEqual([]);
      expect(compared.length).toBeGreaterThan(1);
    });
  });
});
