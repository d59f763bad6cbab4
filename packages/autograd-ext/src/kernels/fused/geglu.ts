import type { HostKernel, HostTensor } from '../registry/host-kernel.js';
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
  simd: {
    suits,
    run(simd, { x }, y) {
      const width = x!.shape[1]! / 2;
      forEachRow(x!, y.byteOffset, (value, gate, to) => simd.gegluRow(value, gate, to, width));
    },
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
  simd: {
    suits,
    run(simd, { x, dy }, dx) {
      const width = x!.shape[1]! / 2;
      const shift = dx.byteOffset - x!.values.byteOffset;
      forEachRow(x!, dy!.values.byteOffset, (value, gate, from) =>
        simd.gegluGradRow(value, gate, from, value + shift, gate + shift, width),
      );
    },
  },
};

function suits({ x }: Readonly<Record<string, readonly number[]>>): boolean {
  return x![1]! % 8 === 0;
}

/** Addresses of each row's value and gate, and of a row of half the width elsewhere. */
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
