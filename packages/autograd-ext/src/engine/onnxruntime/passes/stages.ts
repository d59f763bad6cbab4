import { gradientName } from '../recording/record-function.js';
import { bytesOf, dependencies, nodesOf, type Graph, type GraphNode, type Value } from '../graph/graph.js';
import { replaceValues } from '../graph/replace-values.js';
import type { Segments } from './segments.js';

/** A part of backward: the gradient of one segment of the function. */
export interface Stage {
  /**
   * Computes the gradients that are known here, then the values that later stages read. Its inputs are those of the
   * whole graph, the saved values and the values of earlier stages that it reads.
   */
  readonly graph: Graph;
  /** The indices of the gradients that it computes. */
  readonly gradients: readonly number[];
  /** The names of the values that it computes for later stages, in the order of its last outputs. */
  readonly carried: readonly string[];
  /** The names of the carried values that no later stage reads. */
  readonly finished: readonly string[];
  /** Bytes of the values of earlier stages that are held while it runs. */
  readonly heldBytes: number;
}

/** The name of a graph's input. */
export const nameOf = ({ source }: Value): string => (source as Value['source'] & { kind: 'input' }).name;

/** A graph's input in the place of a value. */
export const placeholder = ({ shape, dtype }: Value, name: string): Value => ({
  shape,
  dtype,
  source: { kind: 'input', name },
});

/**
 * Divides the gradients of a function into stages, one for each segment, the last segment first. A stage computes again
 * what it reads of the function, from the values that are saved.
 * @param gradients all gradients
 * @param saved placeholders of the values that the forward run saves
 * @returns the stages that compute something, in the order in which they run
 */
export function stagesOf(
  gradients: readonly Value[],
  segments: Segments,
  saved: ReadonlyMap<Value, Value>,
): readonly Stage[] {
  const times = timesOf(gradients, segments, saved);
  const timeOf = (value: Value) => (value.source.kind === 'node' ? (times.get(value.source.node) ?? 0) : 0);
  const carried = carriedValues(times);
  const names = new Map([...carried.keys()].map((value, i) => [value, `carried.${i}`]));
  const stage = (time: number): Stage => {
    const own = [...carried.keys()].filter((value) => timeOf(value) === time);
    const earlier = [...carried.keys()].filter((value) => timeOf(value) < time);
    const known = gradients.map((_, i) => i).filter((i) => timeOf(gradients[i]!) === time);
    const replaced = new Map([...saved, ...earlier.map((v) => [v, placeholder(v, names.get(v)!)] as const)]);
    return {
      graph: withInputs(replaceValues([...known.map((i) => gradients[i]!), ...own], replaced)),
      gradients: known,
      carried: own.map((value) => names.get(value)!),
      finished: [...carried].filter(([, last]) => last === time).map(([value]) => names.get(value)!),
      heldBytes: earlier.reduce((sum, value) => sum + (carried.get(value)! >= time ? bytesOf(value) : 0), 0),
    };
  };
  return Array.from({ length: segments.count }, (_, time) => stage(time)).filter(
    ({ graph }) => graph.outputs.length > 0,
  );
}

/** A graph with the inputs that its outputs depend on. */
function withInputs(outputs: readonly Value[]): Graph {
  const read = new Set([...nodesOf(outputs).flatMap(dependencies), ...outputs]);
  return { inputs: [...read].filter((value) => value?.source.kind === 'input') as Value[], outputs };
}

/**
 * The time at which each node runs that depends on the gradient of the output, from 0: as early as the gradients that
 * it reads are there, but not before the stage of the segment whose values it reads. Values of the function are
 * computed again by each stage and have no time.
 */
function timesOf(
  gradients: readonly Value[],
  { of, count }: Segments,
  saved: ReadonlyMap<Value, Value>,
): ReadonlyMap<GraphNode, number> {
  const times = new Map<GraphNode, number>();
  const recomputed = new Map<GraphNode, number>(); // the time from which on a value of the function is at hand
  const known = (value: Value | undefined): number => {
    if (value?.source.kind !== 'node' || saved.has(value)) return 0;
    return times.get(value.source.node) ?? recomputed.get(value.source.node) ?? 0;
  };
  for (const node of nodesOf(gradients)) {
    const inputs = dependencies(node);
    const segment = of.get(node);
    const time = segment === undefined ? Math.max(0, ...inputs.map(known)) : count - 1 - segment;
    (inputs.some((value) => isGradient(value, times)) ? times : recomputed).set(node, time);
  }
  return times;
}

const isGradient = (value: Value | undefined, times: ReadonlyMap<GraphNode, number>): boolean =>
  (value?.source.kind === 'input' && value.source.name === gradientName) ||
  (value?.source.kind === 'node' && times.has(value.source.node));

/** The values that a later stage reads than the one that computes them, and the last time of that. */
function carriedValues(times: ReadonlyMap<GraphNode, number>): ReadonlyMap<Value, number> {
  const carried = new Map<Value, number>();
  for (const [node, time] of times)
    for (const value of dependencies(node)) {
      const from = value?.source.kind === 'node' ? times.get(value.source.node) : undefined;
      if (from !== undefined && from < time) carried.set(value!, Math.max(time, carried.get(value!) ?? 0));
    }
  return carried;
}
