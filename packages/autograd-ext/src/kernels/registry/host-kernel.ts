import { registerKernel, type KernelBackend, type TensorInfo } from '@tensorflow/tfjs-core';
import { elementCount } from '../../params.js';
import { simdOn, type Simd } from '../simd/instance.js';
import type { CpuBackend } from './cpu-backend.js';
import { allocate, type WasmBackend } from './wasm-backend.js';

/** A tensor inside a host kernel: a view of its float32 values in the backend's memory. */
export interface HostTensor {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** Input tensors by name. */
export type HostTensors = Readonly<Record<string, HostTensor>>;
/** Shapes of the inputs by name. */
export type Shapes = Readonly<Record<string, readonly number[]>>;

/** Loops over the values. Must write every value of the output, whose memory is uninitialised. */
export type HostLoop<A extends object> = (inputs: HostTensors, output: Float32Array, attrs: A) => void;

/** A kernel with one float32 output, written as plain loops over values in this thread's memory. */
export interface HostKernel<A extends object> {
  /** Kernel name, unique in tfjs's registry. */
  readonly name: string;
  outputShape(shapes: Shapes, attrs: A): readonly number[];
  readonly run: HostLoop<A>;
  /** Replaces `run` where the wasm backend has SIMD and `suits` returns true. */
  readonly simd?: SimdKernel<A>;
}

/** The SIMD version of a host kernel. Its functions take addresses: the `byteOffset` of the values. */
export interface SimdKernel<A extends object> {
  suits(shapes: Shapes): boolean;
  /** Size of the scratch memory at address `scratch`; 0 by default. */
  scratchBytes?(shapes: Shapes): number;
  run(simd: Simd, inputs: HostTensors, output: Float32Array, attrs: A, scratch: number): void;
}

/**
 * Registers a kernel for backends; by default for those whose tensors lie in this thread's memory, wasm and cpu. Such
 * loops are bound by memory bandwidth, and can accumulate in float64. `tensorflow` copies the tensors out and in.
 */
export function registerHostKernel<A extends object>(
  kernel: HostKernel<A>,
  backends: readonly (keyof typeof memories)[] = ['wasm', 'cpu'],
): void {
  for (const backendName of backends) {
    const memory = memories[backendName] as Memory<KernelBackend>;
    registerKernel({
      kernelName: kernel.name,
      backendName,
      kernelFunc: ({ inputs, attrs, backend }) =>
        run(kernel, memory, inputs as Record<string, TensorInfo>, attrs as unknown as A, backend as KernelBackend),
    });
  }
}

function run<A extends object>(
  kernel: HostKernel<A>,
  memory: Memory<KernelBackend>,
  inputs: Record<string, TensorInfo>,
  attrs: A,
  backend: KernelBackend,
): TensorInfo {
  const shapes = mapValues(inputs, (input) => input.shape);
  const output = memory.allocate(backend, [...kernel.outputShape(shapes, attrs)]);
  const views = () => mapValues(inputs, (input) => ({ shape: input.shape, values: memory.view(backend, input) }));
  const simdKernel = kernel.simd?.suits(shapes) ? kernel.simd : undefined;
  const simd = simdKernel && memory.simd(backend);
  if (simd)
    withScratch(backend as WasmBackend, simdKernel.scratchBytes?.(shapes) ?? 0, (scratch) =>
      simdKernel.run(simd, views(), memory.view(backend, output), attrs, scratch),
    );
  else kernel.run(views(), memory.view(backend, output), attrs);
  return output;
}

function withScratch(backend: WasmBackend, bytes: number, use: (address: number) => void): void {
  if (bytes === 0) return use(0);
  const scratch = allocate(backend, bytes);
  try {
    use(scratch);
  } finally {
    backend.wasm._free(scratch);
  }
}

/** Maps the values that are defined: tfjs passes optional inputs as undefined. */
const mapValues = <V, W>(record: Record<string, V>, fn: (value: V) => W): Record<string, W> =>
  Object.fromEntries(
    Object.entries(record)
      .filter(([, value]) => value)
      .map(([key, value]) => [key, fn(value)]),
  );

/** How a backend allocates and exposes memory. */
interface Memory<B> {
  simd(backend: B): Simd | undefined;
  allocate(backend: B, shape: number[]): TensorInfo;
  /** Valid until the next allocation, which may move the memory. */
  view(backend: B, tensor: TensorInfo): Float32Array;
}

const memories: {
  wasm: Memory<WasmBackend>;
  cpu: Memory<CpuBackend>;
  tensorflow: Memory<KernelBackend>;
} = {
  wasm: {
    simd: ({ wasm: { asm } }) => asm.memory && simdOn(asm.memory),
    allocate: (backend, shape) => backend.makeOutput(shape, 'float32'),
    view: (backend, tensor) => backend.typedArrayFromHeap(tensor) as Float32Array,
  },
  cpu: {
    simd: () => undefined,
    allocate: (backend, shape) => backend.makeTensorInfo(shape, 'float32', new Float32Array(elementCount(shape))),
    view: (backend, tensor) => backend.data.get(tensor.dataId).values,
  },
  tensorflow: {
    simd: () => undefined,
    // written values stay in JavaScript's memory, where they may still be changed, until an op reads them
    allocate: (backend, shape) => ({
      dataId: backend.write(new Float32Array(elementCount(shape)), shape, 'float32'),
      shape,
      dtype: 'float32',
    }),
    view: (backend, tensor) => backend.readSync(tensor.dataId) as Float32Array,
  },
};
