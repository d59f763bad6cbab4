import { dispose, type Tensor, type Tensor3D } from '@tensorflow/tfjs-core';
import { scaledDotProductAttention } from '../../../ops/scaled-dot-product-attention.js';
import { randn, random } from '../../../random.js';
import type { ModelFunction } from '../../../vjp.js';
import { encodeModel } from '../graph/encode.js';
import type { GraphNode } from '../graph/graph.js';
import { inputName, recordFunction } from '../recording/record-function.js';
import type { OnnxRuntime } from './runtime.js';
import type { Device, SessionOptions } from './session.js';

/**
 * Operators that execution providers of ONNX Runtime 1.30 compute wrongly. Found by running all kernel tests on them.
 */
const faults: Partial<Record<Device, (node: GraphNode) => string | undefined>> = {
  webgpu: ({ op, inputs, attributes }) => {
    if (op === 'ConvTranspose' && 'group' in attributes) return 'gradients of depthwise convolutions';
    if (op === 'Slice' && constants(inputs[4]).some((step) => step < -1))
      return 'slices that go backwards by more than one';
    return undefined;
  },
};

const constants = (value: GraphNode['inputs'][number]): readonly number[] =>
  value?.source.kind === 'constant' && typeof value.source.data !== 'number' ? Array.from(value.source.data) : [];

/**
 * Refuses graphs that a device computes wrongly.
 * @throws if a node is a known fault of the device
 */
export function refuseFaults(name: string, nodes: readonly GraphNode[], device: Device): void {
  const fault = nodes.map((node) => faults[device]?.(node)).find((found) => found !== undefined);
  if (fault)
    throw new Error(
      `OnnxRuntimeEngine: '${name}' cannot run on ${device}: ONNX Runtime computes ${fault} wrongly there. ` +
        "Use device 'cpu'.",
    );
}

/** Runs a graph on a device; the caller owns the results. */
type Run = (device: Device) => Promise<readonly Tensor[]>;

/**
 * Compares attention on a device with attention on the CPU: the providers' kernels for it are wrong on some graphics
 * cards and drivers.
 * @param run computes attention on a device: `attend`
 * @throws if the results differ by more than 1 % of the largest value
 */
export async function checkAttention(device: Device, run: Run): Promise<void> {
  const results = [await run('cpu'), await run(device)] as const;
  const [expected, actual] = results.map(([result]) => result!.dataSync()) as [Float32Array, Float32Array];
  results.forEach((tensors) => dispose([...tensors]));
  const largest = Math.max(...expected.map(Math.abs));
  const difference = Math.max(...expected.map((value, i) => Math.abs(value - actual[i]!))) / largest;
  if (difference < 1e-2) return;
  throw new Error(
    `OnnxRuntimeEngine: attention on ${device} is off by ${(100 * difference).toFixed(0)} % of its largest ` +
      "value, a fault of ONNX Runtime or of this machine's driver. Use device 'cpu', or another driver.",
  );
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
