import { integers, node, type Graph, type GraphNode, type Value } from '../graph/graph.js';
import { applyBody } from '../graph/replace-values.js';
import { reshaped } from '../recorder/view.js';

/** A Scan as one copy of its body per entry. Scans inside the body stay. */
export function unrolledScan({ inputs, attributes }: GraphNode): readonly Value[] {
  const { graph: body } = attributes.body as { graph: Graph };
  const stateSize = inputs.length - (attributes.num_scan_inputs as { int: number }).int;
  const stacked = inputs.slice(stateSize) as Value[];
  let state = inputs.slice(0, stateSize) as Value[];
  const results: Value[][] = [];
  for (let i = 0; i < stacked[0]!.shape[0]!; i++) {
    const outputs = applyBody(body, [...state, ...stacked.map((value) => entryOf(value, i))]);
    state = outputs.slice(0, stateSize);
    results.push(outputs.slice(stateSize));
  }
  return [...state, ...results[0]!.map((_, i) => stack(results.map((values) => values[i]!)))];
}

function entryOf(value: Value, i: number): Value {
  const shape = value.shape.slice(1);
  return reshaped(node('Slice', [value, integers([i]), integers([i + 1]), integers([0])], [1, ...shape]), shape);
}

function stack(values: readonly Value[]): Value {
  const [{ shape }] = values as [Value];
  const entries = values.map((value) => reshaped(value, [1, ...shape]));
  return node('Concat', entries, [values.length, ...shape], { attributes: { axis: { int: 0 } } });
}
