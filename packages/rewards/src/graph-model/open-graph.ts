import { excerpt, excerptList } from '@alignprop/autograd-ext/outside';
import { type Params, type StoredTensor, elementCount } from '@alignprop/autograd-ext';
import { tensor, type DataType, type Tensor } from '@tensorflow/tfjs-core';
import { importTfjs, opened, type FunctionalModel, type Output } from './functional-model.js';
import { isWithin, refuseSize, sizeInputs } from './model-limits.js';
import { finalNodes, neededNodes, nodeOf, type GraphDef, type GraphNode, type Signature } from './topology.js';
import { unfuse } from './unfuse.js';

/** A value that tfjs reads at run time, such as a size or an axis. */
interface Constant {
  readonly name: string;
  readonly shape: number[];
  readonly dtype: DataType;
  readonly values: Float32Array | Int32Array;
}

/**
 * Opens a GraphModel without loading its weights: they become further inputs of each run, so that they can stay in
 * their files, belong to an engine, and be recorded. Removes the nodes that the outputs do not need.
 * @throws if tfjs-converter is not installed, the outputs are not a function of one float input, or a value is too
 *   large to compute
 */
export async function openGraph(
  location: string,
  { graph, signature }: { graph: GraphDef; signature: Signature },
  stored: ReadonlyMap<string, StoredTensor>,
  requested: readonly Output[],
): Promise<FunctionalModel> {
  const outputs = requested.map((output) => resolveOutput(location, graph, signature, output));
  const nodes = neededNodes(location, graph.node, outputs);
  const input = findInput(location, nodes);
  const { params, constants } = await readWeights(location, nodes, stored);
  checkSizes(location, nodes, constants);
  const { loadGraphModel } = await importTfjs(loadConverter, '@tensorflow/tfjs-converter', `'${location}'`);
  const inputShape = await opened(location, () => shapeOf(input));
  const model = await opened(location, () => {
    const versions = { producer: 0, minConsumer: 0, ...graph.versions };
    const artifacts = {
      modelTopology: { versions, node: nodes.flatMap(unfuse) },
      weightSpecs: [],
      weightData: new ArrayBuffer(0),
    };
    return loadGraphModel({ load: () => Promise.resolve(artifacts) });
  });
  return {
    inputShape,
    params,
    run: (weights, x) => {
      const inputs: Record<string, Tensor> = { ...(weights as Record<string, Tensor>), [input.name]: x };
      for (const { name, values, shape, dtype } of constants) inputs[name] = tensor(values, shape, dtype);
      return [model.execute(inputs, outputs)].flat();
    },
  };
}

/** Bundlers accept a package that is missing if its import stands in a try block. */
async function loadConverter() {
  try {
    return await import('@tensorflow/tfjs-converter');
  } catch (error) {
    return Promise.reject(error as Error);
  }
}

function resolveOutput(location: string, graph: GraphDef, { outputs }: Signature, requested: Output): string {
  const names = outputs ? Object.values(outputs).map(({ name }) => name) : finalNodes(graph.node);
  const name = typeof requested === 'string' ? (outputs?.[requested]?.name ?? requested) : names[requested];
  if (name === undefined)
    throw new Error(
      `graphModel: output got ${requested}, expected less than ${names.length}: ` +
        `'${location}' has ${excerptList(names)}.`,
    );
  return name;
}

function findInput(location: string, nodes: readonly GraphNode[]): GraphNode {
  const inputs = nodes.filter(({ op }) => op.startsWith('Placeholder'));
  if (inputs.length !== 1)
    throw new Error(
      `graphModel: '${location}' got ${inputs.length} inputs for these outputs ` +
        `(${excerptList(inputs.map(({ name }) => name))}), expected 1. Choose other outputs.`,
    );
  const type = inputs[0]!.attr?.['dtype']?.type ?? 'DT_FLOAT';
  if (type !== 'DT_FLOAT' && type !== 1)
    throw new Error(
      `graphModel: '${location}' takes ${excerpt(`${type}`)}, expected DT_FLOAT: ` +
        'there is no gradient through integers. ' +
        'Use a model that takes floats.',
    );
  const dynamic = nodes.filter(({ op }) => dynamicOps.test(op));
  if (dynamic.length)
    throw new Error(
      `graphModel: '${location}' got ${excerptList(new Set(dynamic.map(({ op }) => op)))}, ` +
        'expected no control flow and no shapes that depend on values. ' +
        `Choose an output before '${excerpt(dynamic[0]!.name)}'.`,
    );
  return inputs[0]!;
}

/** Control flow, and ops whose output shapes depend on values. */
const dynamicOps = new RegExp(
  '^(Switch|Merge|Enter|Exit|NextIteration|LoopCond|StatelessIf|StatelessWhile|If|While|NonMaxSuppressionV\\d|Where|' +
    'ListDiff|TensorArray\\w+|TensorList\\w+|(Lookup|Hash|Initialize)Table\\w*)$',
);

function shapeOf({ attr }: GraphNode): number[] {
  return (attr?.['shape']?.shape?.dim ?? []).map(({ size }) => Number(size));
}

/** @throws if a constant is the size of a value that is too large to compute */
function checkSizes(location: string, nodes: readonly GraphNode[], constants: readonly Constant[]): void {
  for (const { name, op, input = [] } of nodes) {
    const sizes = constants.find((constant) => constant.name === nodeOf(input[sizeInputs[op] ?? input.length] ?? ''));
    if (sizes && !isWithin([...sizes.values])) refuseSize(location, name, [...sizes.values]);
  }
}

/**
 * Splits the weights into params, which stay stored, and constants, which are read now: integers, and float scalars,
 * which may be the limits of a clip or an exponent.
 */
async function readWeights(
  location: string,
  nodes: readonly GraphNode[],
  stored: ReadonlyMap<string, StoredTensor>,
): Promise<{ params: Params; constants: readonly Constant[] }> {
  const names = nodes.filter(({ op }) => op === 'Const').map(({ name }) => name);
  const missing = names.filter((name) => !stored.has(name));
  if (missing.length)
    throw new Error(`graphModel: '${location}' lacks weights: ${excerptList(missing)}. Download the model again.`);
  const isWeight = (name: string) => isFloat(stored.get(name)!) && elementCount(stored.get(name)!.shape) > 1;
  const constants = names
    .filter((name) => !isWeight(name))
    .map(async (name): Promise<Constant> => {
      const weight = stored.get(name)!;
      const dtype = isFloat(weight) ? 'float32' : weight.dtype === 'BOOL' ? 'bool' : 'int32';
      return { name, shape: [...weight.shape], dtype, values: await weight.read() };
    });
  return {
    params: Object.fromEntries(names.filter(isWeight).map((name) => [name, stored.get(name)!])),
    constants: await Promise.all(constants),
  };
}

const isFloat = ({ dtype }: StoredTensor) => dtype === 'F32' || dtype === 'F16';
