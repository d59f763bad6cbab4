import { groupNormGradKernel, groupNormKernel } from './group-norm.js';
import type { HostKernel } from './host-kernel.js';

interface LayerNormAttrs {
  readonly eps: number;
}

/** `[N, C]`, each row a group of its own. */
export const layerNormKernel = perRow('LayerNorm', groupNormKernel);

/** The gradient of the input. */
export const layerNormGradKernel = perRow('LayerNormGrad', groupNormGradKernel);

function perRow(name: string, kernel: typeof groupNormKernel): HostKernel<LayerNormAttrs> {
  return {
    name,
    outputShape: ({ x }) => x!,
    run({ x, ...others }, output, { eps }) {
      const [rows, channels] = x!.shape as [number, number];
      kernel.run({ x: { ...x!, shape: [rows, 1, channels] }, ...others }, output, { groups: 1, eps });
    },
  };
}
