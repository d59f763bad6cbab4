import { cast, transpose } from '../emit/builders.js';
import { intsOf, type GraphNode, type Value } from '../graph/graph.js';

/** Transposes booleans as integers, which a GPU moves. @returns undefined for other types */
export function transposedIntegers(candidate: GraphNode): Value | undefined {
  const [x] = candidate.inputs as [Value];
  return x.dtype === 'bool' ? cast(transpose(cast(x, 'int32'), intsOf(candidate, 'perm')!), 'bool') : undefined;
}
