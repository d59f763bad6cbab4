import type { Value } from '../graph/graph.js';
import { graphMemory } from '../runtime/peak-memory.js';
import { split, type Split } from './split.js';

/** The numbers of segments to choose from. Two need more memory than one: both halves are computed again. */
const counts = [1, 3, 4, 6, 8, 12, 16, 24, 32];

/**
 * Splits the graph of a function and its gradient into as few segments as the memory allows, or such that it needs
 * least.
 * @param inputs of the whole graph
 * @param values the function's outputs
 * @param gradients the gradients
 * @param options.limit the memory of a run, in bytes
 * @param options.relayout as `SessionOptions.relayout`
 */
export function fittingSplit(
  inputs: readonly Value[],
  values: readonly Value[],
  gradients: readonly Value[],
  { limit, relayout }: { readonly limit: number; readonly relayout: boolean },
): Split {
  let best: { readonly candidate: Split; readonly peak: number } | undefined;
  for (const count of counts) {
    const candidate = split(inputs, values, gradients, count);
    const peak = peakOf(candidate, relayout);
    if (peak <= limit) return candidate;
    if (!best || peak < best.peak) best = { candidate, peak };
  }
  return best!.candidate;
}

/** The memory of a run at its peak, in bytes, without weights. */
function peakOf({ forward, backward, residualBytes }: Split, relayout: boolean): number {
  const stages = backward.map(({ graph, heldBytes }) => {
    const { activations, outputs } = graphMemory(graph, { relayout });
    return heldBytes + activations + outputs;
  });
  return residualBytes + Math.max(graphMemory(forward, { relayout }).activations, ...stages);
}
