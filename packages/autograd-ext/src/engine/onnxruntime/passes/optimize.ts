import type { Precision } from '../../../precision.js';
import type { Value } from '../graph/graph.js';
import { gradientName, type RecordedFunction } from '../recording/record-function.js';
import { mixPrecision, scaleGradients } from './mix-precision.js';
import { mergeUpsampling } from './merge-upsampling.js';
import { simplify } from './simplify.js';
import { widenWeights } from './widen-weights.js';

/** Where a graph runs. */
export interface Target {
  readonly device: string;
  /** As that of a session's options; decided by the bytes of the weights by default. */
  readonly relayout?: boolean;
}

/**
 * Runs the passes that rewrite a whole recorded graph. Constant folding comes later, when a session starts, because it
 * needs ONNX Runtime.
 * @returns the optimized outputs, in the order of `graph.outputs`
 */
export function optimize(
  recorded: RecordedFunction,
  precision: Precision,
  { device, relayout }: Target,
): readonly Value[] {
  const outputs = inPrecision(recorded, precision);
  return device === 'webgpu' ? outputs : widenWeights(outputs, relayout); // not every adapter has float16
}

function inPrecision({ graph, outputs: { values } }: RecordedFunction, precision: Precision): readonly Value[] {
  const simplified = simplify(mergeUpsampling(graph.outputs));
  if (precision === 'float32') return simplified;
  const dy = graph.inputs.find(({ source }) => source.kind === 'input' && source.name === gradientName);
  return mixPrecision(dy ? scaleGradients(simplified, values.length, dy) : simplified);
}
