import { importOptional, checkOptions } from '@alignprop/autograd-ext';
import { memory, type FileSource, type HubAccess, hubAccessNames } from '@alignprop/autograd-ext/weights';
import type { ModelReward } from '../reward.js';
import { graphModel } from './graph-model.js';

/**
 * A model that the npm package nsfwjs exports: `import { MobileNetV2Model } from 'nsfwjs/models/mobilenet_v2'`.
 */
export interface NsfwModel {
  modelJson(): Promise<{ readonly default: unknown }>;
  /** The shards of the weights, in base64. */
  readonly weightBundles: readonly (() => Promise<{ readonly default: unknown }>)[];
}

/** The classifier of `nsfwSafety`; the options of the hub are used for a hub id. */
export interface NsfwSafetyOptions extends HubAccess {
  /**
   * A model of nsfwjs, or the location of a model with the same five classes. By default nsfwjs's MobileNetV2.
   */
  readonly model?: NsfwModel | string | FileSource;
  /** Whether to read the weights into memory, to call the reward directly. False for an engine, which reads them. */
  readonly load?: boolean;
}

// The weights of the classes Drawing, Hentai, Neutral, Porn and Sexy.
const harmless = [1, 0, 1, 0, 0];

/**
 * The probability that an image is harmless by nsfwjs's classifier: P(drawing) + P(neutral). Sum it with other rewards
 * to keep them from drifting towards nudity. Ignores prompts.
 *
 * Range: [0, 1]; harmless images are close to 1, where the gradient nearly vanishes, as intended.
 *
 * Weights: `npm install nsfwjs @tensorflow/tfjs-layers` (MIT License, 2.6 MB, quantised to 8 bits). Only the model
 * files of nsfwjs are loaded: neither its code nor its version of tfjs. Its engines field names one exact version of
 * Node; ignore it.
 *
 * Preprocessing: bilinear resize to 224×224 with antialiasing. nsfwjs resizes without it, so scores differ slightly.
 *
 * Over-optimisation: flat colours, line art and empty pictures. Give it a small weight. It is a weak classifier, not a
 * content filter.
 *
 * @throws if nsfwjs or tfjs-layers is not installed, or the files are not such a model
 */
export async function nsfwSafety({ model, load = true, ...access }: NsfwSafetyOptions = {}): Promise<ModelReward> {
  checkOptions('nsfwSafety', access, ['model', 'load', ...hubAccessNames]);
  const classifier = model ?? (await installedModel());
  const source =
    typeof classifier === 'object' && 'weightBundles' in classifier ? await nsfwSource(classifier) : classifier;
  return graphModel({ model: source, score: harmless, load, ...access });
}

async function installedModel(): Promise<NsfwModel> {
  // Typed as string, so that neither bundlers nor the compiler resolve it.
  const path: string = 'nsfwjs/models/mobilenet_v2';
  const load = () =>
    import(/* webpackIgnore: true */ /* @vite-ignore */ path) as Promise<{ MobileNetV2Model: NsfwModel }>;
  // Reading the model needs tfjs-layers, which a global installation of nsfwjs has only for itself.
  const module = await importOptional(path, load, ['@tensorflow/tfjs-layers']).catch((cause: unknown) => {
    throw new Error(`nsfwSafety: ${(cause as Error).message}, or pass a model.`, { cause });
  });
  return module.MobileNetV2Model;
}

/** Returns the files of the model as a file source in memory. */
export async function nsfwSource({ modelJson, weightBundles }: NsfwModel): Promise<FileSource> {
  const { default: json } = (await modelJson()) as { default: { weightsManifest: { paths: string[] }[] } };
  const shards = await Promise.all(weightBundles.map(async (load) => ((await load()) as { default: string }).default));
  const paths = json.weightsManifest.flatMap((group) => group.paths);
  const files = paths.map(
    (path, i) => [path, Uint8Array.from(atob(shards[i]!), (character) => character.charCodeAt(0))] as const,
  );
  return memory({ 'model.json': JSON.stringify(json), ...Object.fromEntries(files) }, 'nsfwjs');
}
