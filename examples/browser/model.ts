import { dispose } from '@tensorflow/tfjs-core';
import type { Params } from '@alignprop/autograd-ext';
import { memory } from '@alignprop/autograd-ext/weights';
import { StableDiffusionPipeline, toUint8 } from '@alignprop/diffusion';
import { applyLora, encodeLora, loadLora, loraTensors } from '@alignprop/lora';
import { AlignPropTrainer, parseAlignPropConfig, type ImageSamples } from '@alignprop/trainer';
import { findEngine } from './engine.js';
import type { OnBytes } from './fetched-files.js';
import type { AdapterFile, Drawing, OpenedModel, Opening, Picture, Report, Training } from './messages.js';
import { modelFiles } from './model-files.js';
import { evaluateReward } from './reward-text.js';
import { pictureSeed, trainingConfig } from './settings.js';

/** A diffusion model that draws, and that is trained. It keeps no adapter: each task brings its own. */
export class Model {
  readonly #pipeline: StableDiffusionPipeline;

  private constructor(
    pipeline: StableDiffusionPipeline,
    readonly facts: OpenedModel,
  ) {
    this.#pipeline = pipeline;
  }

  /** @throws if the model cannot be fetched or read, or nothing here can compute it */
  static async open({ model, engine: wanted }: Opening, onBytes: OnBytes): Promise<Model> {
    const files = await modelFiles(model, onBytes);
    const { engine, remark } = await findEngine(wanted);
    const pipeline = await StableDiffusionPipeline.fromPretrained(files, { engine });
    const { isFewStep, numInferenceSteps } = pipeline.kind;
    return new Model(pipeline, {
      name: files.location,
      engine: `${engine.name}, ${engine.device}`,
      remark,
      ...(isFewStep && { denoisingSteps: numInferenceSteps }),
    });
  }

  /**
   * Draws a picture for each prompt; the same noise each time, so that adapters can be compared.
   * @throws the signal's reason, between two steps
   */
  async draw(
    { prompts, settings }: Drawing,
    adapter: AdapterFile | undefined,
    signal: AbortSignal,
  ): Promise<readonly Picture[]> {
    const { sample_num_steps: numInferenceSteps, sample_guidance_scale: guidanceScale } = parseAlignPropConfig(
      trainingConfig(settings, this.#pipeline.kind),
      this.#pipeline,
    );
    return this.#adapted(adapter, {}, async (pipeline) => {
      const seed = prompts.map((_, i) => pictureSeed + i);
      const images = await pipeline.generate({ prompt: prompts, numInferenceSteps, guidanceScale, seed, signal });
      return images.map(({ data, width, height }, i) => ({
        prompt: prompts[i]!,
        image: imageData(data, width, height),
      }));
    });
  }

  /**
   * Trains an adapter, and reports every step. A stopped run ends after its last complete step.
   * @throws as AlignPropTrainer, and what the text of the reward throws
   */
  async train(
    { prompts, reward, settings }: Training,
    adapter: AdapterFile | undefined,
    report: (report: Report) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const rewardFunction = evaluateReward(reward);
    await this.#adapted(adapter, { trainable: true }, async (pipeline) => {
      let pictures: readonly Picture[] = [];
      const trainer = new AlignPropTrainer({
        config: trainingConfig(settings, pipeline.kind),
        pipeline,
        promptFunction: (generator) => prompts[generator.randint(0, prompts.length, 1)[0]!]!,
        rewardFunction,
        imageSamplesHook: async (samples) => void (pictures = await picturesOf(samples)),
      });
      try {
        for await (const metrics of trainer.train({ signal })) {
          const trained = (await encodeLora(trainer.pipeline.unet.params)) as AdapterFile;
          report({ kind: 'step', metrics, pictures, adapter: trained });
        }
      } finally {
        trainer.dispose();
      }
    });
  }

  /** Calls a function with the pipeline that has the adapter, which is freed afterwards. */
  async #adapted<T>(
    adapter: AdapterFile | undefined,
    options: { readonly trainable?: boolean },
    use: (pipeline: StableDiffusionPipeline) => Promise<T>,
  ): Promise<T> {
    if (!adapter) return use(this.#pipeline);
    const state = await loadLora(memory({ 'adapter.safetensors': adapter }));
    const unet: Params = await applyLora(this.#pipeline.unet.params, state, options);
    try {
      return await use(this.#pipeline.withParams({ unet }));
    } finally {
      dispose(loraTensors(unet));
    }
  }
}

async function picturesOf({ images, prompts, rewards }: ImageSamples<unknown>): Promise<readonly Picture[]> {
  const [, height, width] = images.shape;
  const [bytes, scores] = await Promise.all([toUint8(images), rewards.data()]);
  return bytes.map((rgb, i) => ({
    prompt: prompts[i]!,
    image: imageData(rgb, width, height),
    reward: scores[i]!,
  }));
}

/** Makes an opaque image of the bytes of its pixels, `[height, width, 3]`. */
function imageData(rgb: Uint8Array, width: number, height: number): ImageData {
  const image = new ImageData(width, height);
  image.data.fill(255);
  for (let i = 0; i < width * height; i++) image.data.set(rgb.subarray(3 * i, 3 * i + 3), 4 * i);
  return image;
}
