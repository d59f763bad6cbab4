import { groupNormGradKernel, groupNormKernel } from './group-norm.js';
import type { HostKernel, HostTensor } from './host-kernel.js';
import type { Simd } from '../simd/instance.js';

interface LayerNormAttrs {
  readonly eps: number;
}

/** `[N, C]`, each row a group of its own. */
export const layerNormKernel = perRow('LayerNorm', groupNormKernel, (simd, { x, weight, bias }, y, eps) => {
  const [rows, channels] = x!.shape as [number, number];
  const [xs, ws, bs] = [x!, weight!, bias!].map(({ values }) => values.byteOffset) as [number, number, number];
  for (let at = 0; at < rows * channels * 4; at += channels * 4)
    simd.layerNormRow(xs + at, ws, bs, y.byteOffset + at, channels, eps);
});

/** The gradient of the input. */
export const layerNormGradKernel = perRow('LayerNormGrad', groupNormGradKernel, (simd, { x, weight, dy }, dx, eps) => {
  const [rows, channels] = x!.shape as [number, number];
  const [xs, ws, dys] = [x!, weight!, dy!].map(({ values }) => values.byteOffset) as [number, number, number];
  for (let at = 0; at < rows * channels * 4; at += channels * 4)
    simd.layerNormGradRow(xs + at, ws, dys + at, dx.byteOffset + at, channels, eps);
});

type SimdRun = (simd: Simd, inputs: Readonly<Record<string, HostTensor>>, output: Float32Array, eps: number) => void;

function perRow(name: string, kernel: typeof groupNormKernel, simdRun: SimdRun): HostKernel<LayerNormAttrs> {
  return {
    name,
    outputShape: ({ x }) => x!,
    run({ x, ...others }, output, { eps }) {
      const [rows, channels] = x!.shape as [number, number];
      kernel.run({ x: { ...x!, shape: [rows, 1, channels] }, ...others }, output, { groups: 1, eps });
    },
    simd: {
      suits: ({ x }) => x![1]! % 4 === 0,
      run: (simd, inputs, output, { eps }) => simdRun(simd, inputs, output, eps),
    },
  };
}
