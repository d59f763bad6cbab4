import type { HostKernel } from '../registry/host-kernel.js';
import { geluSlope, normal, prepareNormal } from './normal-distribution.js';

/** `x · Φ(x)`, Φ being the normal distribution function. */
export const geluKernel: HostKernel<object> = {
  name: 'Gelu',
  outputShape: ({ x }) => x!,
  run({ x }, y) {
    prepareNormal();
    const xs = x!.values;
    for (let i = 0; i < y.length; i++) y[i] = xs[i]! * normal(xs[i]!);
  },
};

/** `dy · (Φ(x) + x φ(x))`, φ being the normal density. */
export const geluGradKernel: HostKernel<object> = {
  name: 'GeluGrad',
  outputShape: ({ x }) => x!,
  run({ x, dy }, dx) {
    prepareNormal();
    const [xs, dys] = [x!.values, dy!.values];
    for (let i = 0; i < dx.length; i++) dx[i] = dys[i]! * geluSlope(xs[i]!);
  },
};
