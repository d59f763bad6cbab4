import { registerKernel, type DataType, type KernelBackend, type TensorInfo } from '@tensorflow/tfjs-core';
import { simdOn, type Simd, type WasmMemory } from '../simd/instance.js';
import { elementCount } from '../../params.js';

/** One tensor inside a host kernel: its float32 values where the backend keeps them. */
export interface HostTensor {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** A kernel written as plain loops over float32 values. */
export interface HostKernel<A extends object> {
  readonly name: string;
  outputShape(shapes: Readonly<Record<string, readonly number[]>>, attrs: A): readonly number[];
  /** Writes every value of the output, whose memory is not cleared before. */
  run(inputs: Readonly<Record<string, HostTensor>>, output: Float32Array, attrs: A): void;
  /**
   * The same with SIMD, where the wasm backend has it and the shapes suit it. Addresses are the values' `byteOffset`.
   */
  readonly simd?: {
    suits(shapes: Readonly<Record<string, readonly number[]>>): boolean;
    scratchBytes?(shapes: Readonly<Record<string, readonly number[]>>): number;
    run(
      simd: Simd,
      inputs: Readonly<Record<string, HostTensor>>,
      output: Float32Array,
      attrs: A,
      scratch: number,
    ): void;
  };
}

/**
 * Registers a kernel for the backends whose tensors lie in this thread's memory, wasm and cpu. Such loops run at the
 * speed of memory, and may accumulate in float64.
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
  const version = kernel.simd?.suits(shapes) ? kernel.simd : undefined;
  const simd = version && memory.simd(backend);
  if (simd)
    withScratch(backend as WasmBackend, version.scratchBytes?.(shapes) ?? 0, (scratch) =>
      version.run(simd, views(), memory.view(backend, output), attrs, scratch),
    );
  else kernel.run(views(), memory.view(backend, output), attrs);
  return output;
}

function withScratch({ wasm }: WasmBackend, bytes: number, use: (address: number) => void): void {
  const scratch = bytes ? wasm._malloc(bytes) : 0;
  use(scratch);
  if (bytes) wasm._free(scratch);
}

const mapValues = <V, W>(record: Record<string, V>, fn: (value: V) => W): Record<string, W> =>
  Object.fromEntries(
    Object.entries(record)
      .filter(([, value]) => value)
      .map(([key, value]) => [key, fn(value)]),
  );

/** How a backend gives out memory. */
interface Memory<B> {
  simd(backend: B): Simd | undefined;
  allocate(backend: B, shape: number[]): TensorInfo;
  /** Valid until the next allocation, which may move the memory. */
  view(backend: B, tensor: TensorInfo): Float32Array;
}

type WasmBackend = KernelBackend & {
  readonly wasm: {
    readonly asm: { readonly memory?: WasmMemory };
    _malloc(bytes: number): number;
    _free(address: number): void;
  };
  makeOutput(shape: number[], dtype: DataType): TensorInfo;
  typedArrayFromHeap(tensor: TensorInfo): Float32Array;
};
type CpuBackend = KernelBackend & {
  data: { get(dataId: object): { values: Float32Array } };
  makeTensorInfo(shape: number[], dtype: DataType, values: Float32Array): TensorInfo;
};

const memories: { wasm: Memory<WasmBackend>; cpu: Memory<CpuBackend> } = {
  wasm: {
    simd: ({ wasm: { asm } }) => asm.memory && simdOn(asm.memory),
    allocate: (backend, shape) => backend.makeOutput(shape, 'float32'),
    view: (backend, tensor) => backend.typedArrayFromHeap(tensor),
  },
  cpu: {
    simd: () => undefined,
    allocate: (backend, shape) => backend.makeTensorInfo(shape, 'float32', new Float32Array(elementCount(shape))),
    view: (backend, tensor) => backend.data.get(tensor.dataId).values,
  },
};
