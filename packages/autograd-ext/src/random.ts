import { tensor, type Tensor } from '@tensorflow/tfjs-core';
import { mersenne, mersenneFromState } from 'pure-rand/generator/mersenne';
import { elementCount } from './params.js';

/** The state of a generator as plain data, which JSON represents exactly. */
export interface GeneratorState {
  /** The state of mt19937: the position, then 624 words. */
  readonly engine: readonly number[];
  /** The unused second number of the last Box-Muller pair in double precision. */
  readonly nextNormal: number | null;
}

const BLOCK = 16;
const TWO_PI = Math.fround(2 * Math.PI);

/**
 * Draws the numbers of `torch.Generator('cpu').manual_seed(seed)`, call for call. `rand` and `randint` are equal to
 * torch's; `randn` differs by the rounding of torch's vectorised logarithm and sine (2.4e-7). Not for cryptography.
 */
export class TorchGenerator {
  #engine: { next(): number; getState(): readonly number[] };
  #nextNormal: number | null = null;

  /**
   * @param seed an integer between -2^63 and 2^64 - 1; as in torch, only its low 32 bits are used
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
    // As torch: Box-Muller in double precision for fewer than 16 numbers, else in float32 on blocks of 16.
    if (n < BLOCK) return Float32Array.from({ length: n }, () => this.#normal());
    const values = this.rand(n);
    for (let i = 0; i + BLOCK <= n; i += BLOCK) boxMuller(values.subarray(i, i + BLOCK));
    if (n % BLOCK) {
      const last = values.subarray(n - BLOCK); // overlaps the block before; torch draws it again
      last.set(this.rand(BLOCK));
      boxMuller(last);
    }
    return values;
  }

  /**
   * `torch.randint(low, high, [n])`: integers from `low` to `high - 1`.
   * @throws if the range is empty or exceeds int32
   */
  randint(low: number, high: number, n: number): Int32Array {
    const inRange =
      Number.isInteger(low) && Number.isInteger(high) && low >= -(2 ** 31) && high <= 2 ** 31 && low < high;
    if (!inRange)
      throw new RangeError(
        `TorchGenerator: range got [${low}, ${high}), expected integers with -2^31 <= low < high <= 2^31.`,
      );
    const range = high - low;
    // As torch >= 2.7: 64 bits for large ranges, where the modulus of 32 bits would be visibly uneven.
    const draw = range >= 2 ** 28 ? () => Number(this.#next64() % BigInt(range)) : () => this.#next32() % range;
    return Int32Array.from({ length: n }, () => low + draw());
  }

  /** Returns a copy of the state, for `setState`. */
  getState(): GeneratorState {
    return { engine: [...this.#engine.getState()], nextNormal: this.#nextNormal };
  }

  /**
   * Continues from a state that `getState` returned.
   * @throws if the state has another form
   */
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

  /** A uniform number in [0, 1) with 53 random bits. */
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

/** Returns a generator of the numbers that torch draws on the CPU after `manual_seed(seed)`. */
export function random(seed: number | bigint): TorchGenerator {
  return new TorchGenerator(seed);
}

/**
 * `torch.randn(shape, generator=generator)`: fills the tensor in row-major order. torch draws images as NCHW; to get
 * its numbers, draw that shape and transpose.
 */
export function randn(generator: TorchGenerator, shape: readonly number[]): Tensor {
  return tensor(generator.randn(elementCount(shape)), [...shape], 'float32');
}

/** Turns 16 uniform numbers into normal ones, in place. The first half gives the radii, the second the angles. */
function boxMuller(block: Float32Array): void {
  const half = BLOCK / 2;
  for (let j = 0; j < half; j++) {
    const radius = Math.sqrt(-2 * Math.log(1 - block[j]!)); // 1 - u is never 0
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
