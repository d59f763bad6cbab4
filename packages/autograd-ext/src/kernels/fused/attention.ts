import { registerKernel, tidy, type Tensor } from '@tensorflow/tfjs-core';
import type { WasmBackend } from '../registry/wasm-backend.js';
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

const blockRows = 64; // queries at once: their scores stay in the cache

/**
 * Attention on wasm in one pass over the heads, in place: no head is split off, no score matrix is kept. Takes the
 * place of the composite (tfjs's batched matrix product runs at about 1 GFLOP/s) where the heads' width is a multiple
 * of 4.
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
  run: (work: Work, output: number) => void,
): void {
  registerKernel({
    kernelName,
    backendName: 'wasm',
    kernelFunc: (call) => {
      const [inputs, attrs, backend] = [
        call.inputs as unknown as Inputs,
        call.attrs as unknown as AttentionAttrs,
        call.backend as WasmBackend,
      ];
      const { memory } = backend.wasm.asm;
      const simd = memory && simdOn(memory);
      if (!simd || (inputs['q']!.shape[2]! / attrs.heads) % 4) return tidy(() => composite(inputs, attrs));
      const output = backend.makeOutput(outputShape(inputs), 'float32');
      const work = new Work(inputs, attrs, backend, simd, memory);
      run(work, backend.dataIdMap.get(output.dataId).memoryOffset);
      backend.wasm._free(work.scratch);
      return output;
    },
  });
}

/** Sizes and addresses of one call. Strides and addresses are in bytes. */
class Work {
  readonly batch: number;
  readonly queries: number;
  readonly keys: number;
  readonly channels: number;
  readonly width: number; // of a head
  readonly padded: number; // keys, rounded up to a multiple of 4
  readonly row: number;
  readonly scratch: number;
  readonly at: Readonly<Record<string, number>>;

  constructor(
    inputs: Inputs,
    readonly attrs: AttentionAttrs,
    backend: WasmBackend,
    readonly simd: Simd,
    readonly memory: WasmMemory,
  ) {
    [this.batch, this.queries, this.channels] = inputs['q']!.shape as [number, number, number];
    this.keys = inputs['k']!.shape[1]!;
    this.width = this.channels / attrs.heads;
    this.padded = Math.ceil(this.keys / 4) * 4;
    this.row = this.channels * 4;
    const matrix = this.width * this.padded * 4;
    const scores = blockRows * this.padded * 4;
    this.scratch = backend.wasm._malloc(2 * matrix + 2 * scores);
    const address = (tensor: Tensor) => backend.dataIdMap.get(tensor.dataId).memoryOffset;
    this.at = {
      ...Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, address(tensor)])),
      keysT: this.scratch,
      valuesT: this.scratch + matrix,
      p: this.scratch + 2 * matrix,
      dp: this.scratch + 2 * matrix + scores,
    };
  }

  forEachHead(visit: (query: number, key: number) => void): void {
    for (let b = 0; b < this.batch; b++) {
      for (let h = 0; h < this.attrs.heads; h++)
        visit(b * this.queries * this.row + h * this.width * 4, b * this.keys * this.row + h * this.width * 4);
    }
  }

  forEachBlock(visit: (first: number, rows: number) => void): void {
    for (let first = 0; first < this.queries; first += blockRows)
      visit(first, Math.min(blockRows, this.queries - first));
  }

  /** Copies a head `[keys, width]` to `[width, padded]`, times `scale`. */
  transpose(from: number, to: number, scale: number): void {
    const values = new Float32Array(this.memory.buffer);
    const [source, target] = [from / 4, to / 4];
    for (let c = 0; c < this.width; c++) {
      for (let key = 0; key < this.keys; key++)
        values[target + c * this.padded + key] = values[source + key * this.channels + c]! * scale;
      values.fill(0, target + c * this.padded + this.keys, target + (c + 1) * this.padded);
    }
  }

  /** `[rows, width]` of a head times a transposed head, into a block of scores. */
  scores(rowsAt: number, transposed: number, into: number, rows: number): void {
    this.simd.matmul(
      rowsAt,
      this.row,
      4,
      transposed,
      this.padded * 4,
      into,
      this.padded * 4,
      rows,
      this.padded,
      this.width,
      0,
    );
  }

  /** Fills `p` with the probabilities of a block of queries. */
  probabilities(query: number, first: number, rows: number): void {
    this.scores(this.at['q']! + query + first * this.row, this.at['keysT']!, this.at['p']!, rows);
    for (let i = 0; i < rows; i++) {
      const visible = this.attrs.causal ? Math.min(first + i + 1, this.keys) : this.keys;
      this.simd.softmaxRow(this.at['p']! + i * this.padded * 4, visible, this.padded);
    }
  }
}

function forward(work: Work, output: number): void {
  const { simd, at, row, padded, width, keys } = work;
  work.forEachHead((query, key) => {
    work.transpose(at['k']! + key, at['keysT']!, work.attrs.scale);
    work.forEachBlock((first, rows) => {
      work.probabilities(query, first, rows);
      simd.matmul(
        at['p']!,
        padded * 4,
        4,
        at['v']! + key,
        row,
        output + query + first * row,
        row,
        rows,
        width,
        keys,
        0,
      );
    });
  });
}

function gradient(work: Work, output: number): void {
  const { simd, at, row, padded, width, keys, queries, attrs } = work;
  const example = (queries + 2 * keys) * row; // the gradients of q, k and v, one after the other
  work.forEachHead((query, key) => {
    const head = (query % row) + Math.floor(query / (queries * row)) * example;
    const [dq, dk, dv] = [0, queries * row, (queries + keys) * row].map((offset) => output + head + offset) as [
      number,
      number,
      number,
    ];
    work.transpose(at['k']! + key, at['keysT']!, attrs.scale);
    work.transpose(at['v']! + key, at['valuesT']!, 1);
    work.forEachBlock((first, rows) => {
      const [q, dy] = [at['q']! + query + first * row, at['dy']! + query + first * row];
      work.probabilities(query, first, rows);
      work.scores(dy, at['valuesT']!, at['dp']!, rows);
      simd.matmul(at['p']!, 4, padded * 4, dy, row, dv, row, keys, width, rows, Number(first > 0)); // pᵀ · dy
      for (let i = 0; i < rows; i++)
        simd.softmaxGradRow(at['p']! + i * padded * 4, at['dp']! + i * padded * 4, padded, attrs.scale);
      simd.matmul(at['dp']!, padded * 4, 4, at['k']! + key, row, dq + first * row, row, rows, width, keys, 0);
      simd.matmul(at['dp']!, 4, padded * 4, q, row, dk, row, keys, width, rows, Number(first > 0)); // dsᵀ · q
    });
  });
}
