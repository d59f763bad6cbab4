import { tensor, type Tensor } from '@tensorflow/tfjs-core';
import { mersenne, mersenneFromState } from 'pure-rand/generator/mersenne';
import { elementCount } from './params.js';

/** A generator's state as plain JSON: it survives `JSON.stringify` exactly. */
export interface GeneratorState {
  /** mt19937: the position, then 624 words. */
  readonly engine: readonly number[];
  /** The second half of the last pair of normals drawn in double precision, if unused. */
  readonly nextNormal: number | null;
}

const BLOCK = 16;
const TWO_PI = Math.fround(2 * Math.PI);

/**
 * The numbers of `torch.Generator('cpu').manual_seed(seed)`, call for call: `rand` and `randint` are equal, `randn`
 * differs by the rounding of torch's vectorised logarithm and sine (2.4e-7). Not for cryptography.
 */
export class TorchGenerator {
  #engine: { next(): number; getState(): readonly number[] };
  #nextNormal: number | null = null;

  /**
   * @param seed an integer between -2^63 and 2^64 - 1; as in torch, only its low 32 bits count
   * @throws if the seed is not such an integer
   */
  constructor(seed: number | bigint) {
    this.#engine = mersenne(Number(BigInt.asIntN(32, checkedSeed(seed))));
  }

  /** `torch.rand(n)`: float32 in [0, 1). */
  rand(n: number): Float32Array {
    return Float32Array.from({ length: n }, () => (this.#engine.next() & 0xffffff) / 2 ** 24);
  }

  /** `torch.randn(n)`: float32, mean 0, standard deviation 1. */
  randn(n: number): Float32Array {
    // torch has two ways: Box-Muller in double precision for a few numbers, in float32 on blocks for more.
    if (n < BLOCK) return Float32Array.from({ length: n }, () => this.#normal());
    const values = this.rand(n);
    for (let i = 0; i + BLOCK <= n; i += BLOCK) boxMuller(values.subarray(i, i + BLOCK));
    if (n % BLOCK) {
      const last = values.subarray(n - BLOCK); // overlaps the block before, and is drawn anew
      last.set(this.rand(BLOCK));
      boxMuller(last);
    }
    return values;
  }

  /**
   * `torch.randint(low, high, [n])`: integers from `low` to `high - 1`.
   * @throws if there is none, or they do not fit int32
   */
  randint(low: number, high: number, n: number): Int32Array {
    const inRange =
      Number.isInteger(low) && Number.isInteger(high) && low >= -(2 ** 31) && high <= 2 ** 31 && low < high;
    if (!inRange)
      throw new RangeError(
        `TorchGenerator: range got [${low}, ${high}), expected integers with -2^31 <= low < high <= 2^31.`,
      );
    const range = high - low;
    // The modulus of 32 bits would be visibly uneven for large ranges: torch >= 2.7 takes 64 bits for them.
    const draw = range >= 2 ** 28 ? () => Number(this.#next64() % BigInt(range)) : () => this.#next32() % range;
    return Int32Array.from({ length: n }, () => low + draw());
  }

  getState(): GeneratorState {
    return { engine: [...this.#engine.getState()], nextNormal: this.#nextNormal };
  }

  /** Continues where `getState` was called. @throws if it is not such a state */
  setState({ engine, nextNormal }: GeneratorState): void {
    const valid =
      Array.isArray(engine) && engine.every(Number.isInteger) && (nextNormal === null || Number.isFinite(nextNormal));
    if (!valid)
      throw new Error(
        'TorchGenerator: state got other values, expected what getState returned. Use a state of this version.',
      );
    try {
      this.#engine = mersenneFromState(engine);
    } catch (cause) {
      throw new Error(`TorchGenerator: engine state got ${engine.length} numbers, expected a position and 624 words.`, {
        cause,
      });
    }
    this.#nextNormal = nextNormal;
  }

  #next32(): number {
    return this.#engine.next() >>> 0;
  }

  #next64(): bigint {
    const high = BigInt(this.#next32());
    return (high << 32n) | BigInt(this.#next32());
  }

  /** 53 random bits. */
  #uniform(): number {
    const high = this.#next32() & 0x1fffff;
    return (high * 2 ** 32 + this.#next32()) / 2 ** 53;
  }

  #normal(): number {
    const cached = this.#nextNormal;
    this.#nextNormal = null;
    if (cached !== null) return cached;
    const theta = 2 * Math.PI * this.#uniform();
    const radius = Math.sqrt(-2 * Math.log1p(-this.#uniform()));
    this.#nextNormal = radius * Math.sin(theta);
    return radius * Math.cos(theta);
  }
}

/** A generator that draws what torch draws on CPU after `manual_seed(seed)`. */
export function random(seed: number | bigint): TorchGenerator {
  return new TorchGenerator(seed);
}

/** `torch.randn(shape, generator=generator)`. The order of the axes is the caller's: torch draws images as NCHW. */
export function randn(generator: TorchGenerator, shape: readonly number[]): Tensor {
  return tensor(generator.randn(elementCount(shape)), [...shape], 'float32');
}

/** Sixteen uniforms to normals, in place: the first half are radii, the second angles. */
function boxMuller(block: Float32Array): void {
  const half = BLOCK / 2;
  for (let j = 0; j < half; j++) {
    const radius = Math.sqrt(-2 * Math.log(1 - block[j]!)); // 1 - u: never the logarithm of 0
    const theta = Math.fround(TWO_PI * block[j + half]!);
    block[j] = radius * Math.cos(theta);
    block[j + half] = radius * Math.sin(theta);
  }
}

function checkedSeed(seed: number | bigint): bigint {
  const valid = (typeof seed === 'bigint' || Number.isSafeInteger(seed)) && seed >= -(2n ** 63n) && seed < 2n ** 64n;
  if (!valid)
    throw new RangeError(
      `TorchGenerator: seed got ${seed}, expected an integer between -2^63 and 2^64 - 1 (a bigint beyond 2^53).`,
    );
  return BigInt(seed);
}
