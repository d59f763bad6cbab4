import { forEachWindow, type PoolAttrs } from '../geometry/pool-windows.js';
import type { HostKernel } from '../registry/host-kernel.js';

/**
 * The gradient of tf.avgPool: divides dy by the number of pixels of the window that lie inside the image, as the mean
 * does. (tfjs's kernels divide by the size of the window.)
 */
export const avgPoolGradKernel: HostKernel<PoolAttrs> = {
  name: 'AvgPoolInputGrad',
  outputShape: ({ x }) => x!,
  run({ dy, x }, dx, attrs) {
    const [dys, channels] = [dy!.values, x!.shape[3]!];
    dx.fill(0);
    forEachWindow(x!.shape, attrs, (y, pixels) => {
      for (const pixel of pixels) for (let c = 0; c < channels; c++) dx[pixel + c]! += dys[y + c]! / pixels.length;
    });
  },
};
