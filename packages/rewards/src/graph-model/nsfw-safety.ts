import { memory, type FileSource } from '@alignprop/autograd-ext/weights';
import type { ModelReward } from '../reward.js';
import { graphModel } from './graph-model.js';

/**
 * A model of the npm package nsfwjs, as its sub-paths export it: `import { MobileNetV2Model } from
 * 'nsfwjs/models/mobilenet_v2'`.
 */
export interface NsfwModel {
  modelJson(): Promise<{ readonly default: unknown }>;
  /** Shards in base64. */
  readonly weightBundles: readonly (() => Promise<{ readonly default: unknown }>)[];
}

export interface NsfwSafetyOptions {
  /**
   * The classifier: a model of nsfwjs, or files of one that tells the same five classes apart. nsfwjs's MobileNetV2 if
   * not given.
   */
  readonly model?: NsfwModel | string | FileSource;
  /** Whether to read the weights now, to call the reward directly. A trainer's engine reads them itself: false. */
  readonly load?: boolean;
}

// Drawing, Hentai, Neutral, Porn, Sexy
const harmless = [1, 0, 1, 0, 0];

/**
 * How sure the classifier of nsfwjs is that an image is harmless: P(drawing) + P(neutral). To be summed with other
 * rewards, which otherwise drift to what people look at longest. Prompts are not looked at.
 *
 * Range: [0, 1]; harmless images are close to 1, where there is nearly no gradient, as it should be.
 *
 * Weights: `npm install nsfwjs @tensorflow/tfjs-layers` (MIT License, 2.6 MB, quantised to 8 bits; its engines field
 * asks for one exact version of Node and may be ignored; nsfwjs itself, and the tfjs that it asks for, are not loaded).
 * Images are resized to 224×224, bilinearly with antialiasing, where nsfwjs drops pixels: scores differ a little.
 *
 * Over-optimised: flat colours, line art and emptiness; with a small weight it only keeps others in bounds. It is a
 * weak judge: not a content filter.
 *
 * @throws if nsfwjs or tfjs-layers are not installed, or the files are not such a model
 */
export async function nsfwSafety({ model, load = true }: NsfwSafetyOptions = {}): Promise<ModelReward> {
  const chosen = model ?? (await installedModel());
  const source = typeof chosen === 'object' && 'weightBundles' in chosen ? await nsfwSource(chosen) : chosen;
  return graphModel({ model: source, score: harmless, load });
}

async function installedModel(): Promise<NsfwModel> {
  const path: string = 'nsfwjs/models/mobilenet_v2'; // not a literal: bundlers and the compiler need not find it
  const module = (await import(path).catch((cause: unknown) => {
    throw new Error(`nsfwSafety: '${path}' cannot be loaded. Run 'npm install nsfwjs', or pass a model.`, { cause });
  })) as { MobileNetV2Model: NsfwModel };
  return module.MobileNetV2Model;
}

/** Its files, in memory. */
export async function nsfwSource({ modelJson, weightBundles }: NsfwModel): Promise<FileSource> {
  const { default: json } = (await modelJson()) as { default: { weightsManifest: { paths: string[] }[] } };
  const shards = await Promise.all(weightBundles.map(async (load) => ((await load()) as { default: string }).default));
  const paths = json.weightsManifest.flatMap((group) => group.paths);
  const files = paths.map(
    (path, i) => [path, Uint8Array.from(atob(shards[i]!), (character) => character.charCodeAt(0))] as const,
  );
  return memory({ 'model.json': JSON.stringify(json), ...Object.fromEntries(files) }, 'nsfwjs');
}
