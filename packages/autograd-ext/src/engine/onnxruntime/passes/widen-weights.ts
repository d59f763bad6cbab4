import { isStoredTensor } from '../../../params.js';
import { cast } from '../emit/builders.js';
import {
  dependencies,
  nodesOf,
  relayoutLimit,
  storedTypes,
  sumOf,
  weightsOf,
  type Dtype,
  type Value,
} from '../graph/graph.js';
import { replaceValues } from '../graph/replace-values.js';

/**
 * Reads weights that files have in float16 or bfloat16 as they lie, and widens each where it is used: their memory
 * halves, and no temporary file is written. Graphs of small weights stay as they are: each of their sessions would
 * widen all weights when it starts, and keep them.
 * @param relayout as `Target.relayout`
 */
export function widenWeights(outputs: readonly Value[], relayout?: boolean): readonly Value[] {
  const used = new Set([...nodesOf(outputs).flatMap(dependencies), ...outputs]);
  const wide = new Map<Value, Value>();
  for (const value of used) {
    const stored = value && storedType(value);
    if (stored) wide.set(value, cast({ ...value, dtype: stored }, 'float32'));
  }
  if (wide.size === 0) return outputs;
  const widened = replaceValues(outputs, wide);
  const computesOnce = relayout ?? sumOf(weightsOf(widened).values()) <= relayoutLimit;
  return computesOnce ? outputs : widened;
}

/** The narrower format of a float32 weight in its file; undefined if there is none. */
function storedType({ dtype, source }: Value): Dtype | undefined {
  if (source.kind !== 'weight' || dtype !== 'float32' || !isStoredTensor(source.leaf)) return undefined;
  const stored = source.leaf.location && storedTypes[source.leaf.dtype];
  return stored === 'float16' || stored === 'bfloat16' ? stored : undefined;
}
