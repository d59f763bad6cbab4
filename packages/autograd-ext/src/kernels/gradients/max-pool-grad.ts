import { forEachWindow, type PoolAttrs } from '../geometry/pool-windows.js';
import type { HostKernel } from '../registry/host-kernel.js';

/**
 * The gradient of tf.maxPool: adds dy to the first largest pixel of each window. (tfjs's wasm kernel drops it where the
 * largest value is not positive.)
 */
export const maxPoolGradKernel: HostKernel<PoolAttrs> = {
  name: 'MaxPoolInputGrad',
  outputShape: ({ x }) => x!,
  run({ dy, x }, dx, attrs) {
    const [xs, dys, channels] = [x!.values, dy!.values, x!.shape[3]!];
    dx.fill(0);
    forEachWindow(x!.shape, attrs, (y, pixels) => {
      for (let c = 0; c < channels; c++) {
        let largest = pixels[0]!;
        for (const pixel of pixels) if (xs[pixel + c]! > xs[largest + c]!) largest = pixel;
        dx[largest + c]! += dys[y + c]!;
      }
    });
  },
};
