import { integers, node, type GraphNode, type Value } from '../graph/graph.js';

/**
 * A slice that goes backwards as two: what it reads, then that from its last element on. WebGPU begins all of them with
 * the last element.
 * @returns undefined for slices that go forwards, or begin with the last element
 */
export function slicedTwice({ inputs, outputs }: GraphNode): Value | undefined {
  const [x, starts, , axes, steps] = inputs as [Value, Value, Value, Value, Value?];
  const [at, by] = [integersOf(axes), integersOf(steps)];
  const first = integersOf(starts).map((start, i) => {
    const size = x.shape[at[i]!]!;
    return start < 0 ? start + size : Math.min(start, size - 1);
  });
  const { shape } = outputs[0]!;
  if (!by.some((step, i) => step < 0 && first[i]! < x.shape[at[i]!]! - 1)) return undefined;
  // The numbers of elements from the first to the last that is read.
  const lengths = at.map((axis, i) => (shape[axis]! - 1) * Math.abs(by[i]!) + 1);
  const begins = first.map((start, i) => (by[i]! < 0 ? start - lengths[i]! + 1 : start));
  const ends = begins.map((begin, i) => begin + lengths[i]!);
  const part = x.shape.map((size, axis) => (at.includes(axis) ? lengths[at.indexOf(axis)]! : size));
  const read = node('Slice', [x, integers(begins), integers(ends), axes], part);
  const turnedStarts = by.map((step) => (step < 0 ? -1 : 0));
  const turnedEnds = by.map((step, i) => (step < 0 ? -lengths[i]! - 1 : lengths[i]!));
  return node('Slice', [read, integers(turnedStarts), integers(turnedEnds), axes, steps], shape);
}

const integersOf = (value: Value | undefined): number[] =>
  value?.source.kind === 'constant' && typeof value.source.data !== 'number' ? Array.from(value.source.data) : [];
