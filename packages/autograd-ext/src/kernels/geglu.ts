import type { HostKernel } from './host-kernel.js';
import { geluSlope, normal, prepareNormal } from './normal-distribution.js';

/** `[N, 2C]` to `[N, C]`: the first half times gelu of the second. */
export const gegluKernel: HostKernel<object> = {
  name: 'Geglu',
  outputShape: ({ x }) => [x![0]!, x![1]! / 2],
  run({ x }, y) {
    prepareNormal();
    const xs = x!.values;
    const width = x!.shape[1]! / 2;
    for (let row = 0, to = 0; to < y.length; row += 2 * width) {
      for (let c = 0; c < width; c++, to++) {
        const gate = xs[row + width + c]!;
        y[to] = xs[row + c]! * gate * normal(gate);
      }
    }
  },
};

/** The gradient of both halves. */
export const gegluGradKernel: HostKernel<object> = {
  name: 'GegluGrad',
  outputShape: ({ x }) => x!,
  run({ x, dy }, dx) {
    prepareNormal();
    const [xs, dys] = [x!.values, dy!.values];
    const width = x!.shape[1]! / 2;
    for (let row = 0, from = 0; from < dys.length; row += 2 * width) {
      for (let c = 0; c < width; c++, from++) {
        const gate = xs[row + width + c]!;
        dx[row + c] = dys[from]! * gate * normal(gate);
        dx[row + width + c] = dys[from]! * xs[row + c]! * geluSlope(gate);
      }
    }
  },
};
