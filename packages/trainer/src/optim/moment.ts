import { type StoredTensor, elementCount } from '@alignprop/autograd-ext';
import type { RawTensor } from '@alignprop/autograd-ext/weights';
import { dynamicMap, NearestCode } from './dynamic-map.js';

/** The number of elements that share a scale, as in bitsandbytes' optimizers. */
export const blockSize = 256;

/** A moment of the gradients of one parameter, read and written one block at a time. */
export interface Moment {
  readonly bytes: number;
  /** Reads as many values as fit into `to`, from element `start` on. */
  load(start: number, to: Float32Array): void;
  /** Writes values from element `start` on. */
  store(start: number, from: Float32Array): void;
  /** The contents of a file. */
  save(): { state: RawTensor; absmax?: RawTensor };
  restore(stored: { state: StoredTensor; absmax?: StoredTensor }): Promise<void>;
}

/** A moment in float32. */
export function floatMoment(shape: readonly number[]): Moment {
  const values = new Float32Array(elementCount(shape));
  return {
    bytes: values.byteLength,
    load: (start, to) => to.set(values.subarray(start, start + to.length)),
    store: (start, from) => values.set(from, start),
    save: () => ({ state: { dtype: 'F32', shape, data: values } }),
    restore: async ({ state }) => values.set(await state.read()),
  };
}

const formats = {
  signed: format(dynamicMap(true)),
  positive: format(dynamicMap(false)),
};

function format(map: Float32Array) {
  return { map, nearest: new NearestCode(map), zero: map.indexOf(0) };
}

/**
 * A moment in 8 bits (arXiv 2110.02861): divides each block of 256 elements by its largest magnitude, and rounds each
 * quotient to the nearest of the 256 values of the dynamic data type. One difference from bitsandbytes: a second moment
 * above 0 is never rounded to 0, so that no step divides by epsilon alone when a gradient vanishes.
 */
export function quantizedMoment(shape: readonly number[], kind: 'signed' | 'positive'): Moment {
  const { map, nearest, zero } = formats[kind];
  const size = elementCount(shape);
  const codes = new Uint8Array(size).fill(zero);
  const scales = new Float32Array(Math.ceil(size / blockSize));
  const quotients = new Float32Array(blockSize);
  return {
    bytes: codes.byteLength + scales.byteLength,
    load(start, to) {
      const scale = scales[start / blockSize]!;
      for (let i = 0; i < to.length; i++) to[i] = map[codes[start + i]!]! * scale;
    },
    store(start, from) {
      const scale = largest(from);
      scales[start / blockSize] = scale;
      for (let i = 0; i < from.length; i++) quotients[i] = scale === 0 ? 0 : from[i]! / scale;
      nearest.encode(quotients.subarray(0, from.length), codes, start);
      if (kind === 'signed') return;
      for (let i = 0; i < from.length; i++) if (codes[start + i] === zero && from[i]! > 0) codes[start + i] = zero + 1;
    },
    save: () => ({
      state: { dtype: 'U8', shape, data: codes },
      absmax: { dtype: 'F32', shape: [scales.length], data: scales },
    }),
    async restore({ state, absmax }) {
      const [newCodes, newScales] = await Promise.all([state.read(), absmax!.read()]);
      codes.set(newCodes);
      scales.set(newScales);
    },
  };
}

/** The largest magnitude. */
function largest(values: Float32Array): number {
  let most = 0;
  for (let i = 0; i < values.length; i++) {
    const size = Math.abs(values[i]!);
    if (size > most) most = size;
  }
  return most;
}
