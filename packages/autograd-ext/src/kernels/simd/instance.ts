import { compiledKernels } from './compiled-kernels.js';

/**
 * The SIMD kernels of packages/autograd-ext/assembly, where each is described. Pointers are byte addresses in the
 * memory of tfjs's wasm backend.
 */
export interface Simd {
  matmul(
    a: number,
    aRow: number,
    aColumn: number,
    b: number,
    bRow: number,
    c: number,
    cRow: number,
    rows: number,
    columns: number,
    depth: number,
    accumulate: number,
  ): void;
  softmaxRow(row: number, visible: number, width: number): void;
  softmaxGradRow(p: number, dp: number, width: number, scale: number): void;
  gegluRow(value: number, gate: number, y: number, width: number): void;
  gegluGradRow(value: number, gate: number, dy: number, dvalue: number, dgate: number, width: number): void;
  columnSums(a: number, b: number, rows: number, channels: number, sums: number): void;
  columnAffine(x: number, y: number, rows: number, channels: number, coefficients: number): void;
  columnAffineGrad(x: number, dy: number, dx: number, rows: number, channels: number, coefficients: number): void;
  layerNormRow(x: number, weight: number, bias: number, y: number, width: number, eps: number): void;
  layerNormGradRow(x: number, weight: number, dy: number, dx: number, width: number, eps: number): void;
}

/** A `WebAssembly.Memory`: TypeScript declares the types of this API for browsers only. */
export interface WasmMemory {
  readonly buffer: ArrayBuffer;
}

const { WebAssembly: api } = globalThis as unknown as {
  readonly WebAssembly: {
    validate(binary: Uint8Array): boolean;
    readonly Module: new (binary: Uint8Array) => object;
    readonly Instance: new (module: object, imports: object) => { readonly exports: unknown };
  };
};
const instances = new WeakMap<WasmMemory, { readonly simd?: Simd }>();

/**
 * The kernels on this memory, one instance for each memory. Undefined where WebAssembly lacks SIMD, and for memory that
 * threads share: the module imports memory that is not shared.
 */
export function simdOn(memory: WasmMemory): Simd | undefined {
  if (!instances.has(memory)) instances.set(memory, { simd: instantiate(memory) });
  return instances.get(memory)!.simd;
}

function instantiate(memory: WasmMemory): Simd | undefined {
  const binary = Uint8Array.from(atob(compiledKernels), (char) => char.charCodeAt(0));
  if (!(memory.buffer instanceof ArrayBuffer) || !api.validate(binary)) return undefined;
  return new api.Instance(new api.Module(binary), { env: { memory } }).exports as Simd;
}
