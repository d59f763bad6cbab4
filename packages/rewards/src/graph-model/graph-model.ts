import { checkOptions, type Params } from '@alignprop/autograd-ext';
import { hubAccessNames, type FileSource, type HubAccess } from '@alignprop/autograd-ext/weights';
import {
  concat,
  mul,
  reshape,
  split,
  sum,
  tensor1d,
  tidy,
  type Tensor,
  type Tensor1D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { checkImages, defineReward, loadReward, type ModelReward } from '../reward.js';
import { fitInput, type Transform } from './fit-input.js';
import type { FunctionalModel, Output } from './functional-model.js';
import { openModelFile } from './model-file.js';
import { checkInputShape } from './model-limits.js';
import { openGraph } from './open-graph.js';
import { openLayers } from './open-layers.js';

/** The model of `graphModel`, and how its outputs become scores; the options of the hub are used for a hub id. */
export interface GraphModelOptions extends HubAccess {
  /**
   * A folder, hub id or file source with a `model.json` and its shards, or the path of a JSON file of another name.
   */
  readonly model: string | FileSource;
  /**
   * The outputs to use: indices among the model's outputs, or names, including inner nodes (GraphModel) and layers
   * (LayersModel). By default the first output.
   */
  readonly output?: Output | readonly Output[];
  /**
   * Maps images to the model's input; by default `fitInput()`, which resizes. It is recorded with the model, so it must
   * not read tensor values.
   */
  readonly transform?: Transform;
  /**
   * Maps the outputs, in the order of `output`, to scores `[B]`; or a weight for each class of an output `[B,
   * classes]`.
   */
  readonly score: ((...outputs: Tensor[]) => Tensor) | readonly number[];
  /**
   * Whether the model takes a whole batch; if not, it runs for each image. By default its input's shape decides.
   */
  readonly batched?: boolean;
  /** Whether to read the weights into memory, to call the reward directly. False for an engine, which reads them. */
  readonly load?: boolean;
}

const optionNames = ['model', 'output', 'transform', 'score', 'batched', 'load', ...hubAccessNames];

/**
 * Makes a reward of any tfjs model: a GraphModel (needs `@tensorflow/tfjs-converter`) or a LayersModel (needs
 * `@tensorflow/tfjs-layers`), from its files. Ignores prompts.
 *
 * The weights are the reward's `params`, by their names in the manifest, and stay in their files until they are used.
 * They are passed to the model at each run. In a GraphModel, scalars and integers (sizes, axes, limits) are constants
 * instead, since tfjs reads their values at run time. Quantised weights are converted to float32 when they are read.
 * The model runs in inference mode.
 *
 * Range, licence and over-optimisation: those of the model. Training quickly drives a classifier's probability to 1 by
 * patterns that no one would take for the class: cap the reward, sum it with others, and look at pictures. Near 0 and 1
 * the gradient of a probability vanishes; use its `log`, or the logits before the softmax (name the inner node).
 *
 * @throws if a file is missing or is not such a model, if the package that runs it is not installed, or if the outputs
 * are not a differentiable function of one image: control flow, integer inputs, several inputs
 */
export async function graphModel({
  model,
  output = 0,
  transform = fitInput(),
  score,
  batched,
  load = true,
  ...access
}: GraphModelOptions): Promise<ModelReward> {
  checkOptions('graphModel', access, optionNames);
  const { location, topology, weights } = await openModelFile(model, access);
  const outputs = [output].flat() as Output[];
  const net =
    'graph' in topology
      ? await openGraph(location, topology, weights, outputs)
      : await openLayers(location, topology, weights, outputs);
  checkInputShape(location, net.inputShape.slice(1));
  const fixed = net.inputShape[0] ?? -1;
  if (fixed > 1)
    throw new Error(`graphModel: '${location}' takes batches of ${fixed} images, expected any number, or 1.`);
  const scoreBatch = batchScore(net, transform, score);
  const reward = defineReward({
    params: net.params,
    score: (params, images) => {
      checkImages('graphModel', images as Tensor4D);
      if (batched ?? fixed !== 1) return scoreBatch(params, images as Tensor4D);
      return concat((split(images!, images!.shape[0]!) as Tensor4D[]).map((image) => scoreBatch(params, image)));
    },
  });
  return load ? loadReward(reward) : reward;
}

/** Returns a function from weights and images to scores `[B]`. */
function batchScore(
  net: FunctionalModel,
  transform: Transform,
  score: GraphModelOptions['score'],
): (params: Params, images: Tensor4D) => Tensor1D {
  const toScores = typeof score === 'function' ? score : (output: Tensor) => weighted(output, score);
  return (params, images) =>
    tidy(() => {
      const scores = toScores(...net.run(params, transform(images, net.inputShape)));
      if (scores.size !== images.shape[0])
        throw new Error(
          `graphModel: score gave shape [${scores.shape}] for ${images.shape[0]} images, ` +
            `expected [${images.shape[0]}].`,
        );
      return reshape(scores, [-1]);
    });
}

function weighted(output: Tensor, weights: readonly number[]): Tensor {
  if (output.rank !== 2 || output.shape[1] !== weights.length)
    throw new Error(
      `graphModel: score got ${weights.length} weights for an output of shape [${output.shape}], ` +
        'expected one a class of [B, classes].',
    );
  return sum(mul(output, tensor1d([...weights])), -1);
}
