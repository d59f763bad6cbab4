import { excerptJson, excerptList } from '@alignprop/autograd-ext/outside';
import { elementCount, ensureBackend, type Params, type StoredTensor } from '@alignprop/autograd-ext';
import { add, conv2d, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import type { LayersModel, SymbolicTensor } from '@tensorflow/tfjs-layers';
import { importTfjs, opened, type FunctionalModel, type Output } from './functional-model.js';
import { checkLayerNumbers, isWithin, refuseSize } from './model-limits.js';
import { withStoredInitializers } from './stored-initializer.js';

type Layer = LayersModel['layers'][number];
type LayerWeight = Layer['weights'][number];

/**
 * Opens a LayersModel without loading its weights: its layers read the weights passed to each run, so that they can
 * stay in their files, belong to an engine, and be recorded.
 * @throws if tfjs-layers is not installed, layers, outputs and weights do not match, or a layer is too large to compute
 */
export async function openLayers(
  location: string,
  { layers: topology }: { layers: object },
  stored: ReadonlyMap<string, StoredTensor>,
  requested: readonly Output[],
): Promise<FunctionalModel> {
  const { loadLayersModel, model: subModel } = await importTfjs(loadLayers, '@tensorflow/tfjs-layers', `'${location}'`);
  await ensureBackend();
  checkLayerNumbers(location, topology);
  const total = [...stored.values()].reduce((sum, { shape }) => sum + elementCount(shape), 0);
  const load = (modelTopology: object) => loadLayersModel({ load: () => Promise.resolve({ modelTopology }) });
  const whole = await opened(location, () => withStoredInitializers(location, topology, total, load));
  checkActivations(location, whole);
  const outputs = requested.map((output) => resolveOutput(location, whole, output));
  const model = await opened(location, () => subModel({ inputs: whole.inputs, outputs }));
  if (model.inputs.length !== 1)
    throw new Error(`graphModel: '${location}' got ${model.inputs.length} inputs for these outputs, expected 1.`);
  const named = nameWeights(location, model, stored);
  let current: Params = {};
  for (const [name, weight] of named)
    weight.read = () => (current as Record<string, Tensor>)[name] as ReturnType<LayerWeight['read']>;
  for (const weight of whole.weights) weight.dispose();
  model.layers.forEach(unfuse);
  return {
    inputShape: model.inputs[0]!.shape.map((size) => size ?? -1),
    params: Object.fromEntries([...named.keys()].map((name) => [name, stored.get(name)!])),
    run: (params, x) => {
      current = params;
      return [model.apply(x)].flat() as Tensor[];
    },
  };
}

/** Bundlers accept a package that is missing if its import stands in a try block. */
async function loadLayers() {
  try {
    return await import('@tensorflow/tfjs-layers');
  } catch (error) {
    return Promise.reject(error as Error);
  }
}

/** @throws if the output of a layer has too many numbers */
function checkActivations(location: string, { layers }: LayersModel): void {
  for (const { name, outputShape } of layers)
    for (const shape of (Array.isArray(outputShape[0]) ? outputShape : [outputShape]) as (number | null)[][])
      if (!isWithin(shape)) refuseSize(location, name, shape);
}

function resolveOutput(
  location: string,
  { outputs, outputNames, layers }: LayersModel,
  requested: Output,
): SymbolicTensor {
  const found =
    typeof requested === 'number'
      ? outputs[requested]
      : (outputs[outputNames.indexOf(requested)] ??
        ([layers.find(({ name }) => name === requested)?.output].flat()[0] as SymbolicTensor | undefined));
  if (found) return found;
  throw new Error(
    `graphModel: output got ${excerptJson(requested)}, expected the name of a layer of '${location}', ` +
      `or the index of one of its outputs: ${excerptList(outputNames)}.`,
  );
}

/** Returns the model's weights by their names in the manifest. */
function nameWeights(
  location: string,
  { weights }: LayersModel,
  stored: ReadonlyMap<string, StoredTensor>,
): Map<string, LayerWeight> {
  const named = new Map(weights.map((weight) => [weight.originalName, weight]));
  const wrong = [...named].filter(([name, { shape }]) => String(stored.get(name)?.shape) !== String(shape));
  if (wrong.length === 0) return named;
  const got = wrong.map(
    ([name, { shape }]) =>
      `'${name}' got ${stored.has(name) ? `[${stored.get(name)!.shape.join(', ')}]` : 'nothing'}, ` +
      `expected [${shape.join(', ')}]`,
  );
  throw new Error(
    `graphModel: weights of '${location}' do not match its layers: ` +
      `${excerptList(got, 8, 200, '; ')}. Save the model again with tfjs.`,
  );
}

/**
 * Replaces tfjs's fused convolution, which it uses where there is no activation: its gradient always computes the
 * weights' gradient too (see unfuse.ts).
 */
function unfuse(layer: Layer): void {
  const { activation, strides, padding, dilationRate, dataFormat } = layer.getConfig() as Record<string, unknown>;
  if (layer.getClassName() !== 'Conv2D' || activation !== 'linear' || dataFormat !== 'channelsLast') return;
  const [kernel, bias] = layer.weights;
  layer.call = (inputs) => {
    const y = conv2d(
      [inputs].flat()[0] as Tensor4D,
      kernel!.read() as unknown as Tensor4D,
      strides as [number, number],
      padding as 'same' | 'valid',
      'NHWC',
      dilationRate as [number, number],
    );
    return bias ? add(y, bias.read()) : y;
  };
}
