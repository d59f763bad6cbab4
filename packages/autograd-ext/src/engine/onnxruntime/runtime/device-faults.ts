import { dispose, type Tensor, type Tensor3D } from '@tensorflow/tfjs-core';
import { scaledDotProductAttention } from '../../../ops/scaled-dot-product-attention.js';
import { randn, random } from '../../../random.js';
import type { ModelFunction } from '../../../vjp.js';
import { encodeModel } from '../graph/encode.js';
import { nodesOf, type GraphNode, type Value } from '../graph/graph.js';
import { inputName, recordFunction } from '../recording/record-function.js';
import { attentionSubstitute, substitute, webgpuSubstitutes } from '../substitutes/substitutes.js';
import type { OnnxRuntime } from './runtime.js';
import type { Device, SessionOptions } from './session.js';

/** The operators that are replaced on a device. */
const substitutes: Partial<Record<Device, typeof webgpuSubstitutes>> = { webgpu: webgpuSubstitutes };

/**
 * Replaces operators that a device computes wrongly or lacks.
 * @param canAttend tells whether the device computes attention as the CPU does
 * @throws if a node has no substitute
 */
export async function avoidFaults(
  name: string,
  outputs: readonly Value[],
  device: Device,
  canAttend: () => Promise<boolean>,
): Promise<readonly Value[]> {
  const own = substitutes[device] ? substitute(outputs, substitutes[device]) : outputs;
  const nodes = nodesOf(own);
  if (device === 'webgpu' && nodes.some(isOfVolumes))
    throw new Error(
      `OnnxRuntimeEngine: '${name}' cannot run on webgpu: ONNX Runtime lacks gradients of convolutions and pools of ` +
        "volumes there. Use device 'cpu'.",
    );
  const attends = !nodes.some(({ op }) => op === 'MultiHeadAttention') || (await canAttend());
  return attends ? own : substitute(own, attentionSubstitute);
}

const isOfVolumes = ({ op, inputs, outputs }: GraphNode): boolean =>
  inputs[0]?.shape.length === 5 && (op === 'ConvTranspose' || (op === 'MaxPool' && outputs.length > 1));

/** Runs a graph on a device; the caller owns the results. */
type Run = (device: Device) => Promise<readonly Tensor[]>;

/**
 * Compares attention on a device with attention on the CPU: the providers' kernels for it are wrong on some graphics
 * cards and drivers.
 * @param run computes attention on a device: `attend`
 * @returns whether the results differ by less than 1 % of the largest value; false if the device computes none
 */
export async function canAttend(device: Device, run: Run): Promise<boolean> {
  const [found] = await Promise.allSettled([run(device)]);
  if (found.status === 'rejected') return false;
  const results = [await run('cpu'), found.value] as const;
  const [expected, actual] = results.map(([result]) => result!.dataSync()) as [Float32Array, Float32Array];
  results.forEach((tensors) => dispose([...tensors]));
  const largest = Math.max(...expected.map(Math.abs));
  return Math.max(...expected.map((value, i) => Math.abs(value - actual[i]!))) / largest < 1e-2;
}

/** [B, N, C]: enough keys to select the kernel for long sequences. */
const shape = [1, 256, 64] as const;

/** Records attention once and returns a function that runs it on a device. */
export function attend(runtime: OnnxRuntime, options: SessionOptions): Run {
  const fn: ModelFunction = (_, q, k, v) =>
    scaledDotProductAttention(q as Tensor3D, k as Tensor3D, v as Tensor3D, { heads: 4 });
  const { graph } = recordFunction(
    fn,
    {},
    [0, 1, 2].map(() => ({ shape, dtype: 'float32' })),
  );
  const model = encodeModel(graph, () => ({ file: '', offset: 0, length: 0 }));
  return async (device) => {
    const session = await runtime.startSession(
      { model, outputs: graph.outputs },
      { ...options, device, profile: undefined },
    );
    const inputs = [1, 2, 3].map((seed) => randn(random(seed), [...shape]));
    try {
      return await session.run(Object.fromEntries(inputs.map((tensor, i) => [inputName(i), tensor])));
    } finally {
      dispose(inputs);
      await session.release();
    }
  };
}
