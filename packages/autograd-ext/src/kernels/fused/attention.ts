import { registerKernel, tidy, type Tensor } from '@tensorflow/tfjs-core';
import { allocate, type WasmBackend } from '../registry/wasm-backend.js';
import { simdOn, type Simd, type WasmMemory } from '../simd/instance.js';

/** The attributes of the attention kernels. */
export interface AttentionAttrs {
  /** Divides the channels. */
  readonly heads: number;
  /** Query i attends to keys 0 … i only. */
  readonly causal: boolean;
  /** Factor of the scores. */
  readonly scale: number;
}

type Inputs = Readonly<Record<string, Tensor>>;
type Composite = (inputs: Inputs, attrs: AttentionAttrs) => Tensor;

const blockRows = 64; // queries per block, so that their scores stay in the CPU's cache

/**
 * Registers the attention kernels of the wasm backend, which read the heads in place and hold the scores of one block
 * of queries at a time. They need SIMD and heads whose width is a multiple of 4; else the composites run, which are
 * slow because tfjs's batched matrix product reaches only about 1 GFLOP/s.
 */
export function registerAttentionKernels(composites: {
  readonly forward: Composite;
  readonly gradient: Composite;
}): void {
  register('ScaledDotProductAttention', composites.forward, ({ q }) => q!.shape, forward);
  register(
    'ScaledDotProductAttentionGrad',
    composites.gradient,
    ({ q, k }) => [q!.shape[0]!, q!.shape[1]! + 2 * k!.shape[1]!, q!.shape[2]!],
    gradient,
  );
}

function register(
  kernelName: string,
  composite: Composite,
  outputShape: (inputs: Inputs) => number[],
  run: (call: AttentionCall, output: number) => void,
): void {
  registerKernel({
    kernelName,
    backendName: 'wasm',
    kernelFunc: ({ inputs: tensors, attrs: attributes, backend: wasmBackend }) => {
      const [inputs, attrs] = [tensors as unknown as Inputs, attributes as unknown as AttentionAttrs];
      const backend = wasmBackend as WasmBackend;
      const { memory } = backend.wasm.asm;
      const simd = memory && simdOn(memory);
      if (!simd || (inputs['q']!.shape[2]! / attrs.heads) % 4) return tidy(() => composite(inputs, attrs));
      const output = backend.makeOutput(outputShape(inputs), 'float32');
      const call = new AttentionCall(inputs, attrs, backend, simd, memory);
      run(call, backend.dataIdMap.get(output.dataId).memoryOffset);
      backend.wasm._free(call.scratch);
      return output;
    },
  });
}

/** Writes the attention of every head to `output`, `[B, N, C]`. */
function forward(call: AttentionCall, output: number): void {
  const { simd, p, keysT, queries, keys, width, rowStride } = call;
  call.forEachHead((offset) => {
    call.transpose(call.input('k', offset(keys)), keysT, call.attrs.scale);
    const v = call.input('v', offset(keys));
    call.forEachBlock((first, rows) => {
      const blockOffset = offset(queries) + first * rowStride;
      call.probabilities(call.input('q', blockOffset), first, rows);
      const y = matrix(output + blockOffset, rowStride);
      multiply(simd, p, v, y, { rows, columns: width, depth: keys });
    });
  });
}

/** Writes the gradients of q, k and v to `output`, concatenated along the sequence: `[B, N + 2M, C]`. */
function gradient(call: AttentionCall, output: number): void {
  const { simd, attrs, p, dp, keysT, valuesT, queries, keys, width, rowStride } = call;
  call.forEachHead((offset) => {
    const head = output + offset(queries + 2 * keys);
    const dk = matrix(head + queries * rowStride, rowStride);
    const dv = matrix(head + (queries + keys) * rowStride, rowStride);
    const k = call.input('k', offset(keys));
    call.transpose(k, keysT, attrs.scale);
    call.transpose(call.input('v', offset(keys)), valuesT, 1);
    call.forEachBlock((first, rows) => {
      const blockOffset = offset(queries) + first * rowStride;
      const [q, dy] = [call.input('q', blockOffset), call.input('dy', blockOffset)];
      const dq = matrix(head + first * rowStride, rowStride);
      const accumulate = first > 0; // dk and dv sum over the blocks
      call.probabilities(q, first, rows);
      call.scores(dy, valuesT, dp, rows);
      multiply(simd, transposed(p), dy, dv, { rows: keys, columns: width, depth: rows, accumulate });
      for (let i = 0; i < rows; i++) {
        const row = i * p.rowStride;
        simd.softmaxGradRow(p.address + row, dp.address + row, call.paddedKeys, attrs.scale); // dp becomes ds
      }
      multiply(simd, dp, k, dq, { rows, columns: width, depth: keys });
      multiply(simd, transposed(dp), q, dk, { rows: keys, columns: width, depth: rows, accumulate });
    });
  });
}

/** A float32 matrix in the memory of the wasm backend. Address and strides are in bytes. */
interface Matrix {
  readonly address: number;
  readonly rowStride: number;
  readonly columnStride: number;
}

const matrix = (address: number, rowStride: number): Matrix => ({ address, rowStride, columnStride: 4 });

const transposed = ({ address, rowStride, columnStride }: Matrix): Matrix => ({
  address,
  rowStride: columnStride,
  columnStride: rowStride,
});

interface Sizes {
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  readonly accumulate?: boolean;
}

/** `c = a · b`, or `c += a · b`. Only `a` may have a column stride other than 4. */
function multiply(simd: Simd, a: Matrix, b: Matrix, c: Matrix, { rows, columns, depth, accumulate }: Sizes): void {
  const strides = [a.rowStride, a.columnStride] as const;
  simd.matmul(
    a.address,
    ...strides,
    b.address,
    b.rowStride,
    c.address,
    c.rowStride,
    rows,
    columns,
    depth,
    accumulate ? 1 : 0,
  );
}

/** The sizes, addresses and scratch memory of one kernel call. */
class AttentionCall {
  readonly queries: number;
  readonly keys: number;
  /** The number of keys, rounded up to a multiple of 4. */
  readonly paddedKeys: number;
  /** Channels of a head. */
  readonly width: number;
  /** Bytes of a row of all heads. */
  readonly rowStride: number;
  /** Address of the scratch memory, which the caller frees. */
  readonly scratch: number;
  /** The keys of one head times `scale`, transposed: `[width, paddedKeys]`. */
  readonly keysT: Matrix;
  /** The values of one head, transposed: `[width, paddedKeys]`. */
  readonly valuesT: Matrix;
  /** The probabilities of one block of queries: `[blockRows, paddedKeys]`. */
  readonly p: Matrix;
  /** The gradient of the probabilities: `[blockRows, paddedKeys]`. */
  readonly dp: Matrix;
  readonly #batch: number;
  readonly #addresses: Readonly<Record<string, number>>;

  constructor(
    inputs: Inputs,
    readonly attrs: AttentionAttrs,
    backend: WasmBackend,
    readonly simd: Simd,
    readonly memory: WasmMemory,
  ) {
    const [batch, queries, channels] = inputs['q']!.shape as [number, number, number];
    this.#batch = batch;
    this.queries = queries;
    this.keys = inputs['k']!.shape[1]!;
    this.paddedKeys = Math.ceil(this.keys / 4) * 4;
    this.width = channels / attrs.heads;
    this.rowStride = channels * 4;
    const scoreStride = this.paddedKeys * 4;
    const [headBytes, scoreBytes] = [this.width * scoreStride, blockRows * scoreStride];
    this.scratch = allocate(backend, 2 * headBytes + 2 * scoreBytes);
    this.keysT = matrix(this.scratch, scoreStride);
    this.valuesT = matrix(this.scratch + headBytes, scoreStride);
    this.p = matrix(this.scratch + 2 * headBytes, scoreStride);
    this.dp = matrix(this.scratch + 2 * headBytes + scoreBytes, scoreStride);
    this.#addresses = Object.fromEntries(
      Object.entries(inputs).map(([name, { dataId }]) => [name, backend.dataIdMap.get(dataId).memoryOffset]),
    );
  }

  /** The part of an input from a byte offset on. */
  input(name: string, offset: number): Matrix {
    return matrix(this.#addresses[name]! + offset, this.rowStride);
  }

  /** Visits every head of every example. `offset(length)` is its byte offset in a tensor `[B, length, C]`. */
  forEachHead(visit: (offset: (length: number) => number) => void): void {
    for (let b = 0; b < this.#batch; b++) {
      for (let h = 0; h < this.attrs.heads; h++) visit((length) => b * length * this.rowStride + h * this.width * 4);
    }
  }

  /** Visits blocks of queries: the index of the first and their number. */
  forEachBlock(visit: (first: number, rows: number) => void): void {
    for (let first = 0; first < this.queries; first += blockRows)
      visit(first, Math.min(blockRows, this.queries - first));
  }

  /** Copies a head `[keys, width]` times `scale` to `[width, paddedKeys]`, padded with zeros. */
  transpose(from: Matrix, to: Matrix, scale: number): void {
    const values = new Float32Array(this.memory.buffer);
    const [source, target, rowLength] = [from.address / 4, to.address / 4, this.rowStride / 4];
    for (let c = 0; c < this.width; c++) {
      const row = target + c * this.paddedKeys;
      for (let key = 0; key < this.keys; key++) values[row + key] = values[source + key * rowLength + c]! * scale;
      values.fill(0, row + this.keys, row + this.paddedKeys);
    }
  }

  /** Multiplies `rows` rows of a head by a transposed head, into a block of scores. */
  scores(rowsOfHead: Matrix, headT: Matrix, into: Matrix, rows: number): void {
    multiply(this.simd, rowsOfHead, headT, into, { rows, columns: this.paddedKeys, depth: this.width });
  }

  /** Computes the probabilities of a block of queries into `p`. */
  probabilities(q: Matrix, first: number, rows: number): void {
    this.scores(q, this.keysT, this.p, rows);
    for (let i = 0; i < rows; i++) {
      const visible = this.attrs.causal ? Math.min(first + i + 1, this.keys) : this.keys;
      this.simd.softmaxRow(this.p.address + i * this.p.rowStride, visible, this.paddedKeys);
    }
  }
}
