import { dispose, mean, squaredDifference, tidy, zerosLike, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { disposeTensors, random } from '@alignprop/autograd-ext';
import { drawNoise, modelKind, noisedTo, type StableDiffusionPipeline, type Step } from '@alignprop/diffusion';
import type { TrainedWeights } from '../model/trained-weights.js';

/** The chain that noise levels are taken from. */
const numInferenceSteps = 20;
/** Noise levels at which prompts are compared, as shares of the training timesteps: too little noise hides nothing. */
const levels = [0.4, 0.65];

/**
 * Says which prompt the model without its adapter takes images for: a diffusion classifier (arXiv 2303.16203). It adds
 * noise to the images and compares how well the prediction for each prompt restores them.
 */
export class Recognition {
  readonly #encoding: { clipSkip?: number };

  constructor(
    readonly prompts: readonly string[],
    /** The trained weights, an adapter: they are 0 while the model judges. */
    readonly variables: TrainedWeights['variables'],
    { clip_skip: clipSkip }: { clip_skip: number },
  ) {
    this.#encoding = { clipSkip };
  }

  /** Whether a model can tell: it has two prompts or more, and its loss is that of diffusion models. */
  static isPossible(pipeline: StableDiffusionPipeline, prompts: readonly string[], isAdapter: boolean): boolean {
    return isAdapter && new Set(prompts).size > 1 && !modelKind(pipeline).isFewStep;
  }

  /**
   * Returns whether each image is recognised as that of a prompt.
   * @param latents `[n, h, w, C]`
   * @param index of the prompt
   */
  async recognise(pipeline: StableDiffusionPipeline, latents: Tensor4D, index: number): Promise<readonly boolean[]> {
    return this.#withoutAdapter(async () => {
      const totals = this.prompts.map(() => new Array<number>(latents.shape[0]).fill(0));
      for (const step of comparedSteps(pipeline)) {
        const errors: number[][] = [];
        for (const prompt of this.prompts) errors.push(await this.#errors(pipeline, latents, step, prompt));
        for (const i of totals[0]!.keys()) {
          const sum = errors.reduce((all, each) => all + each[i]!, 0);
          errors.forEach((each, p) => (totals[p]![i]! += each[i]! / sum));
        }
      }
      const own = this.prompts[index]!;
      const nearest = (i: number) => totals.reduce((best, each, p) => (each[i]! < totals[best]![i]! ? p : best), 0);
      return totals[0]!.map((_, i) => this.prompts[nearest(i)] === own);
    });
  }

  /** The mean squared error of the latents that the prediction for a prompt restores, one per image. */
  async #errors(pipeline: StableDiffusionPipeline, latents: Tensor4D, step: Step, prompt: string): Promise<number[]> {
    const { scheduler } = pipeline;
    const [batch, height, width] = latents.shape;
    const noisy = tidy(() => noisedTo(scheduler, step, latents, drawNoise(latents.shape, random(0))));
    const encoding = await pipeline.encodePrompt(new Array<string>(batch).fill(prompt), this.#encoding);
    const factor = pipeline.vaeScaleFactor;
    const timeIds = pipeline.timeIds({ batch, height: height * factor, width: width * factor });
    const given = { ...encoding, ...(timeIds && { timeIds }) };
    try {
      const options = { ...given, numInferenceSteps, guidanceScale: 1, steps: [step], generator: random(0) };
      const errors: number[] = [];
      for await (const { modelOutput, latents: next } of pipeline.denoise(noisy, options)) {
        const error = tidy((): Tensor => {
          const { predOriginalSample } = scheduler.step(modelOutput, step, noisy, { noise: zerosLike(noisy) });
          return mean(squaredDifference(predOriginalSample, latents), [1, 2, 3]);
        });
        errors.push(...(await error.data()));
        dispose([error, modelOutput, next]);
      }
      return errors;
    } finally {
      disposeTensors([noisy, given]);
    }
  }

  async #withoutAdapter<T>(run: () => Promise<T>): Promise<T> {
    const second = Object.entries(this.variables).filter(([path]) => path.endsWith('lora_B.weight'));
    const trained = second.map(([, variable]) => variable.clone());
    try {
      for (const [, variable] of second) tidy(() => variable.assign(zerosLike(variable)));
      return await run();
    } finally {
      second.forEach(([, variable], i) => variable.assign(trained[i]!));
      dispose(trained);
    }
  }
}

/** The steps of the chain that are nearest to the compared noise levels. */
function comparedSteps({ scheduler }: StableDiffusionPipeline): readonly Step[] {
  const steps = scheduler.timesteps(numInferenceSteps);
  const count = Number(scheduler.config.num_train_timesteps);
  const distance = (step: Step, level: number) => Math.abs(step.t - level * count);
  return levels.map((level) =>
    steps.reduce((best, step) => (distance(step, level) < distance(best, level) ? step : best)),
  );
}
