import type { HostKernel, HostTensor, Shapes } from '../registry/host-kernel.js';
import { geluSlope, normal, prepareNormal } from './normal-distribution.js';

/** Maps `[N, 2C]` to `[N, C]`: the first half of each row times gelu of the second half, the gate. */
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
  simd: {
    suits,
    run(simd, { x }, y) {
      const width = x!.shape[1]! / 2;
      forEachRow(x!, y.byteOffset, (value, gate, output) => simd.gegluRow(value, gate, output, width));
    },
  },
};

/** The gradient of `[N, 2C]`. */
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
  simd: {
    suits,
    run(simd, { x, dy }, dx) {
      const width = x!.shape[1]! / 2;
      const shift = dx.byteOffset - x!.values.byteOffset; // from an element of x to its gradient
      forEachRow(x!, dy!.values.byteOffset, (value, gate, gradient) =>
        simd.gegluGradRow(value, gate, gradient, value + shift, gate + shift, width),
      );
    },
  },
};

/** The width of a half must be a multiple of 4. */
function suits({ x }: Shapes): boolean {
  return x![1]! % 8 === 0;
}

/**
 * Visits the rows of `[N, 2C]`: the addresses of a row's two halves, and of the same row of a tensor `[N, C]` at
 * address `half`.
 */
function forEachRow(
  { shape, values }: HostTensor,
  half: number,
  visit: (value: number, gate: number, half: number) => void,
): void {
  const [rows, channels] = shape as [number, number];
  for (let row = 0; row < rows; row++) {
    const value = values.byteOffset + row * channels * 4;
    visit(value, value + channels * 2, half + row * channels * 2);
  }
}
