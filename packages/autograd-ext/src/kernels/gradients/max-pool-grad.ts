import type { HostKernel } from '../registry/host-kernel.js';
import { forEachWindow, type PoolAttrs } from '../geometry/pool-windows.js';

/**
 * The gradient of maxPool goes to the first largest place of each window. (tfjs's wasm kernel misses windows whose
 * largest value is not positive.)
 */
export const maxPoolGradKernel: HostKernel<PoolAttrs> = {
  name: 'MaxPoolInputGrad',
  outputShape: ({ x }) => x!,
  run({ dy, x }, dx, attrs) {
    const [xs, dys, channels] = [x!.values, dy!.values, x!.shape[3]!];
    dx.fill(0);
    forEachWindow(x!.shape, attrs, (y, places) => {
      for (let c = 0; c < channels; c++) {
        let largest = places[0]!;
        for (const place of places) if (xs[place + c]! > xs[largest + c]!) largest = place;
        dx[largest + c]! += dys[y + c]!;
      }
    });
  },
};
