import type { HostKernel } from '../registry/host-kernel.js';
import { forEachWindow, type PoolAttrs } from '../geometry/pool-windows.js';

/**
 * The gradient of avgPool is shared by the places inside the image, over which the mean was taken. (tfjs's kernels
 * divide by the whole window.)
 */
export const avgPoolGradKernel: HostKernel<PoolAttrs> = {
  name: 'AvgPoolInputGrad',
  outputShape: ({ x }) => x!,
  run({ dy, x }, dx, attrs) {
    const [dys, channels] = [dy!.values, x!.shape[3]!];
    dx.fill(0);
    forEachWindow(x!.shape, attrs, (y, places) => {
      for (const place of places) for (let c = 0; c < channels; c++) dx[place + c]! += dys[y + c]! / places.length;
    });
  },
};
