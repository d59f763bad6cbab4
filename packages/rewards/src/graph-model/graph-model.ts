import type { Params } from '@alignprop/autograd-ext';
import type { FileSource } from '@alignprop/autograd-ext/weights';
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
import { openGraph } from './open-graph.js';
import { openLayers } from './open-layers.js';

export interface GraphModelOptions {
  /**
   * A folder, hub id or file source with a `model.json` and its shards, or the path of a JSON file with another name.
   */
  readonly model: string | FileSource;
  /**
   * What to take of the model: places among its outputs, or names, also of inner nodes (GraphModel) and layers
   * (LayersModel). The first output if not given.
   */
  readonly output?: Output | readonly Output[];
  /**
   * Images to the model's input; `fitInput()` if not given: resized, in [0, 1]. Recorded like the model: no reads of
   * values.
   */
  readonly transform?: Transform;
  /** Outputs, in the order asked for, to scores `[B]`; or a weight for each class, for an output `[B, classes]`. */
  readonly score: ((...outputs: Tensor[]) => Tensor) | readonly number[];
  /**
   * Whether the model takes a whole batch; if not, images go through it one by one. By its input's shape if not given.
   */
  readonly batched?: boolean;
  /** Whether to read the weights now, to call the reward directly. A trainer's engine reads them itself: false. */
  readonly load?: boolean;
}

/**
 * Any tfjs model as a reward: a GraphModel (needs `@tensorflow/tfjs-converter`) or a LayersModel (needs
 * `@tensorflow/tfjs-layers`), from its files, without a network. Prompts are not looked at.
 *
 * The weights are the reward's `params`, by the names of the manifest, and stay in their files until they are used; the
 * model is handed them at each run and owns none. Of a GraphModel, single numbers and integers (sizes, axes, limits)
 * are constants instead, since tfjs reads their values while it runs. Quantised weights are widened when they are read.
 * The model runs in inference mode.
 *
 * Range, licence, over-optimising: those of the model. A classifier's probability is quickly driven to 1 by patterns
 * that no one would take for the class: cap it, sum it with other rewards, and watch pictures. Where a probability is
 * near 0 or 1 its gradient vanishes; `log`, or the logits before the softmax (ask for the inner node), keep it alive.
 *
 * @throws if a file is missing or is no such model, if the package that runs it is not installed, or if the part that
 * is needed is not a differentiable function of one image: control flow, integer inputs, several inputs
 */
export async function graphModel({
  model,
  output = 0,
  transform = fitInput(),
  score,
  batched,
  load = true,
}: GraphModelOptions): Promise<ModelReward> {
  const { location, topology, weights } = await openModelFile(model);
  const outputs = [output].flat() as Output[];
  const net =
    'graph' in topology
      ? await openGraph(location, topology, weights, outputs)
      : await openLayers(location, topology, weights, outputs);
  const fixed = net.inputShape[0] ?? -1;
  if (fixed > 1)
    throw new Error(`graphModel: '${location}' takes batches of ${fixed} images, expected any number, or 1.`);
  const judge = judgeOf(net, transform, score);
  const reward = defineReward({
    params: net.params,
    score: (params, images) => {
      checkImages('graphModel', images as Tensor4D);
      if (batched ?? fixed !== 1) return judge(params, images as Tensor4D);
      return concat((split(images!, images!.shape[0]!) as Tensor4D[]).map((image) => judge(params, image)));
    },
  });
  return load ? loadReward(reward) : reward;
}

function judgeOf(
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
          `graphModel: score gave shape [${scores.shape}] for ${images.shape[0]} images, expected [${images.shape[0]}].`,
        );
      return reshape(scores, [-1]);
    });
}

function weighted(output: Tensor, weights: readonly number[]): Tensor {
  if (output.rank !== 2 || output.shape[1] !== weights.length)
    throw new Error(
      `graphModel: score got ${weights.length} weights for an output of shape [${output.shape}], expected one a class of [B, classes].`,
    );
  return sum(mul(output, tensor1d([...weights])), -1);
}
