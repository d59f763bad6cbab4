import { tensor, type Variable } from '@tensorflow/tfjs-core';
import type { StoredTensor } from '@alignprop/autograd-ext';
import type { RawTensor } from '@alignprop/autograd-ext/weights';
import type { AdamWOptions } from './adamw.js';
import type { Gradients } from './gradients.js';
import { blockSize, floatMoment, quantizedMoment, type Moment } from './moment.js';
import type { Optimizer } from './optimizer.js';

export interface AdamW8bitOptions extends AdamWOptions {
  /** Parameters with fewer elements have moments in float32; 4,096 by default. */
  minQuantizedSize?: number;
}

/** The first and second moment of one parameter. */
interface Moments {
  readonly first: Moment;
  readonly second: Moment;
}

/**
 * AdamW whose moments take a quarter of the memory: 8 bits per element and 4 bytes per block of 256 (arXiv 2110.02861),
 * as bitsandbytes' `AdamW8bit`. Parameters below 4,096 elements, and so most small adapters, have moments in float32.
 * Each step is computed in float32, block by block, in plain memory outside tfjs; the moments are quantized after the
 * parameter was moved.
 */
export class AdamW8bit implements Optimizer {
  readonly #options: Required<AdamW8bitOptions>;
  readonly #moments: Readonly<Record<string, Moments>>;
  #steps = 0;

  constructor(
    readonly variables: Readonly<Record<string, Variable>>,
    {
      learningRate = 1e-3,
      beta1 = 0.9,
      beta2 = 0.999,
      epsilon = 1e-8,
      weightDecay = 1e-2,
      minQuantizedSize = 4096,
    }: AdamW8bitOptions = {},
  ) {
    this.#options = { learningRate, beta1, beta2, epsilon, weightDecay, minQuantizedSize };
    this.#moments = Object.fromEntries(
      Object.entries(variables).map(([path, { shape, size }]) => [
        path,
        createMoments(shape, size >= minQuantizedSize),
      ]),
    );
  }

  get steps(): number {
    return this.#steps;
  }

  get bytes(): number {
    return Object.values(this.#moments).reduce((sum, { first, second }) => sum + first.bytes + second.bytes, 0);
  }

  step(gradients: Gradients, learningRate = this.#options.learningRate): void {
    this.#steps++;
    for (const [path, variable] of Object.entries(this.variables)) {
      const values = variable.dataSync<'float32'>().slice();
      this.#move(values, gradients[path]!.dataSync<'float32'>(), this.#moments[path]!, learningRate);
      const moved = tensor(values, variable.shape);
      variable.assign(moved);
      moved.dispose();
    }
  }

  save(): Record<string, RawTensor> {
    const entries = Object.entries(this.#moments).flatMap(([path, { first, second }]) => {
      const [one, two] = [first.save(), second.save()];
      return [
        [`state1.${path}`, one.state],
        [`state2.${path}`, two.state],
        ...(one.absmax && two.absmax
          ? ([
              [`absmax1.${path}`, one.absmax],
              [`absmax2.${path}`, two.absmax],
            ] as const)
          : []),
      ] as const;
    });
    return Object.fromEntries(entries);
  }

  async load(steps: number, stored: Readonly<Record<string, StoredTensor>>): Promise<void> {
    for (const [path, { first, second }] of Object.entries(this.#moments)) {
      await first.restore({ state: stored[`state1.${path}`]!, absmax: stored[`absmax1.${path}`] });
      await second.restore({ state: stored[`state2.${path}`]!, absmax: stored[`absmax2.${path}`] });
    }
    this.#steps = steps;
  }

  /** Does nothing: the moments are no tensors. */
  dispose(): void {}

  #move(values: Float32Array, gradient: Float32Array, { first, second }: Moments, learningRate: number): void {
    const { beta1, beta2, epsilon, weightDecay } = this.#options;
    const stepSize = learningRate / (1 - beta1 ** this.#steps);
    const correction = Math.sqrt(1 - beta2 ** this.#steps);
    const decay = 1 - learningRate * weightDecay;
    const [firstBlock, secondBlock] = [new Float32Array(blockSize), new Float32Array(blockSize)];
    for (let start = 0; start < values.length; start += blockSize) {
      const size = Math.min(blockSize, values.length - start);
      const [m, v] = [firstBlock.subarray(0, size), secondBlock.subarray(0, size)];
      first.load(start, m);
      second.load(start, v);
      for (let i = 0; i < size; i++) {
        const g = gradient[start + i]!;
        m[i] = m[i]! * beta1 + (1 - beta1) * g;
        v[i] = v[i]! * beta2 + (1 - beta2) * g * g;
        values[start + i] = values[start + i]! * decay - (stepSize * m[i]!) / (Math.sqrt(v[i]!) / correction + epsilon);
      }
      first.store(start, m);
      second.store(start, v);
    }
  }
}

const createMoments = (shape: readonly number[], quantized: boolean): Moments =>
  quantized
    ? { first: quantizedMoment(shape, 'signed'), second: quantizedMoment(shape, 'positive') }
    : { first: floatMoment(shape), second: floatMoment(shape) };
