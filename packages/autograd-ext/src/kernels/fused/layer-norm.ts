import type { HostKernel, HostLoop, HostTensors } from '../registry/host-kernel.js';
import type { Simd } from '../simd/instance.js';
import { groupNormGradLoop, groupNormLoop, type GroupNormAttrs } from './group-norm-loops.js';

interface LayerNormAttrs {
  readonly eps: number;
}

/** Layer normalisation of `[N, C]` with a weight and bias `[C]`. */
export const layerNormKernel = rowKernel('LayerNorm', groupNormLoop, (simd, { x, weight, bias }, y, eps) => {
  const [rows, channels] = x!.shape as [number, number];
  const [xs, ws, bs] = [x!, weight!, bias!].map(({ values }) => values.byteOffset) as [number, number, number];
  for (let offset = 0; offset < rows * channels * 4; offset += channels * 4)
    simd.layerNormRow(xs + offset, ws, bs, y.byteOffset + offset, channels, eps);
});

/** The gradient of layer normalisation with respect to x. */
export const layerNormGradKernel = rowKernel('LayerNormGrad', groupNormGradLoop, (simd, { x, weight, dy }, dx, eps) => {
  const [rows, channels] = x!.shape as [number, number];
  const [xs, ws, dys] = [x!, weight!, dy!].map(({ values }) => values.byteOffset) as [number, number, number];
  for (let offset = 0; offset < rows * channels * 4; offset += channels * 4)
    simd.layerNormGradRow(xs + offset, ws, dys + offset, dx.byteOffset + offset, channels, eps);
});

type SimdRun = (simd: Simd, inputs: HostTensors, output: Float32Array, eps: number) => void;

/** A kernel that runs group normalisation on `[N, 1, C]` with one group: each row is a group of its own. */
function rowKernel(name: string, loop: HostLoop<GroupNormAttrs>, simdRun: SimdRun): HostKernel<LayerNormAttrs> {
  return {
    name,
    outputShape: ({ x }) => x!,
    run({ x, ...others }, output, { eps }) {
      const [rows, channels] = x!.shape as [number, number];
      loop({ x: { ...x!, shape: [rows, 1, channels] }, ...others }, output, { groups: 1, eps });
    },
    simd: {
      suits: ({ x }) => x![1]! % 4 === 0,
      run: (simd, inputs, output, { eps }) => simdRun(simd, inputs, output, eps),
    },
  };
}
