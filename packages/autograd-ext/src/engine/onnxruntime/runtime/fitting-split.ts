import { computedBytes, type Value } from '../graph/graph.js';
import { graphMemory } from './peak-memory.js';
import { split, type Split } from '../passes/split.js';

/** The numbers of segments to choose from. Two need more memory than one: both halves are computed again. */
const counts = [1, 3, 4, 6, 8, 12, 16, 24, 32];

/** A split, and whether its sessions rearrange weights. */
export interface FittingSplit extends Split {
  readonly relayout: boolean;
}

/**
 * The memory of a run at its peak, in bytes, without weights and residuals. ONNX Runtime's binding copies the residuals
 * when forward has ended.
 */
export function activationsOf({ forward, backward, residualBytes, relayout }: FittingSplit): number {
  const stages = backward.map(({ graph, heldBytes }) => {
    const { activations, outputs } = graphMemory(graph, { relayout });
    return heldBytes + activations + outputs;
  });
  return Math.max(graphMemory(forward, { relayout }).activations, residualBytes, ...stages);
}

/**
 * Splits the graph of a function and its gradient into as few segments as the memory allows, or such that it needs
 * least. Several segments are a sign that memory is short: their sessions make no second copies of weights.
 * @param inputs of the whole graph
 * @param values the function's outputs
 * @param gradients the gradients
 * @param options.limit the memory of a run, in bytes
 * @param options.relayout whether one segment rearranges weights, as `SessionOptions.relayout`
 */
export function fittingSplit(
  inputs: readonly Value[],
  values: readonly Value[],
  gradients: readonly Value[],
  options: { readonly limit: number; readonly relayout: boolean },
): FittingSplit {
  const whole = { ...split(inputs, values, gradients), relayout: options.relayout };
  if (whole.residualBytes + computedBytes([...values, ...gradients]) <= options.limit) return whole;
  let best: { readonly candidate: FittingSplit; readonly peak: number } | undefined;
  for (const count of counts) {
    const candidate = count === 1 ? whole : { ...split(inputs, values, gradients, count), relayout: false };
    const peak = candidate.residualBytes + activationsOf(candidate);
    if (peak <= options.limit) return candidate;
    if (!best || peak < best.peak) best = { candidate, peak };
  }
  return best!.candidate;
}
