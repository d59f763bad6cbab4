import { tensor, type Variable } from '@tensorflow/tfjs-core';
import type { StoredTensor } from '@alignprop/autograd-ext';
import type { RawTensor } from '@alignprop/autograd-ext/weights';
import type { AdamWOptions } from './adamw.js';
import type { Gradients } from './gradients.js';
import { blockSize, floatMoment, quantizedMoment, type Moment } from './moment.js';
import type { Optimizer } from './optimizer.js';

export interface AdamW8bitOptions extends AdamWOptions {
  /** Parameters of fewer elements keep their moments in float32. */
  minQuantizedSize?: number;
}

/** What it remembers of one parameter. */
interface Remembered {
  readonly first: Moment;
  readonly second: Moment;
}

/**
 * AdamW whose moments take a quarter of the memory: 8 bits an element and 4 bytes a block of 256 (arXiv 2110.02861), as
 * bitsandbytes' `AdamW8bit`. Parameters below 4,096 elements, and with them most small adapters, stay in float32. Each
 * step is computed in float32, block by block, in plain memory outside tfjs; moments are rounded after the parameter
 * was moved.
 */
export class AdamW8bit implements Optimizer {
  readonly #options: Required<AdamW8bitOptions>;
  readonly #remembered: Readonly<Record<string, Remembered>>;
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
    this.#remembered = Object.fromEntries(
      Object.entries(variables).map(([path, { shape, size }]) => [path, remember(shape, size >= minQuantizedSize)]),
    );
  }

  get steps(): number {
    return this.#steps;
  }

  get bytes(): number {
    return Object.values(this.#remembered).reduce((sum, { first, second }) => sum + first.bytes + second.bytes, 0);
  }

  step(gradients: Gradients, learningRate = this.#options.learningRate): void {
    this.#steps++;
    for (const [path, variable] of Object.entries(this.variables)) {
      const values = variable.dataSync<'float32'>().slice();
      this.#move(values, gradients[path]!.dataSync<'float32'>(), this.#remembered[path]!, learningRate);
      const moved = tensor(values, variable.shape);
      variable.assign(moved);
      moved.dispose();
    }
  }

  save(): Record<string, RawTensor> {
    const entries = Object.entries(this.#remembered).flatMap(([path, { first, second }]) => {
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
    for (const [path, { first, second }] of Object.entries(this.#remembered)) {
      await first.restore({ state: stored[`state1.${path}`]!, absmax: stored[`absmax1.${path}`] });
      await second.restore({ state: stored[`state2.${path}`]!, absmax: stored[`absmax2.${path}`] });
    }
    this.#steps = steps;
  }

  /** Holds no tensors: nothing to free. */
  dispose(): void {}

  #move(values: Float32Array, gradient: Float32Array, { first, second }: Remembered, learningRate: number): void {
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

const remember = (shape: readonly number[], quantized: boolean): Remembered =>
  quantized
    ? { first: quantizedMoment(shape, 'signed'), second: quantizedMoment(shape, 'positive') }
    : { first: floatMoment(shape), second: floatMoment(shape) };
