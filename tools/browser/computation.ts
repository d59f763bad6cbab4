import { TfjsEngine, trainable, type Engine } from '@alignprop/autograd-ext';
import { StableDiffusionPipeline } from '@alignprop/diffusion';
import { jpegCompressibility } from '@alignprop/rewards';
import { AlignPropTrainer } from '@alignprop/trainer';
import { drawing } from './drawing.js';

/** The values that backends are compared by. */
export interface Computed {
  /** The pixels of an image, in [0, 1]. */
  readonly image: readonly number[];
  readonly reward: readonly number[];
  /** The loss of one AlignProp step. */
  readonly loss: readonly number[];
  /** The norm of its gradient. */
  readonly gradNorm: readonly number[];
  /** The adapter after that step. */
  readonly adapter: readonly number[];
}

/** Draws an image and takes one AlignProp step, by default on the active backend. */
export async function compute(
  model: Parameters<typeof StableDiffusionPipeline.fromPretrained>[0],
  engine: Engine = new TfjsEngine(),
): Promise<Computed> {
  const pipeline = await StableDiffusionPipeline.fromPretrained(model, { engine });
  const { images } = await pipeline.generate(drawing.prompt, { ...drawing.options, outputType: 'tensor' });
  const reward = await jpegCompressibility()(images, [drawing.prompt], []).data();
  const trainer = new AlignPropTrainer({
    config: {
      seed: 3,
      numEpochs: 1,
      sampleNumSteps: 2,
      trainBatchSize: 1,
      trainGradientAccumulationSteps: 1,
      truncatedRandBackpropMinmax: [1, 1],
    },
    pipeline,
    promptFunction: () => drawing.prompt,
    rewardFunction: jpegCompressibility(),
  });
  const [loss, gradNorm]: [number[], number[]] = [[], []];
  for await (const metrics of trainer.train()) {
    loss.push(metrics.loss);
    gradNorm.push(metrics.gradNorm);
  }
  const adapter: number[] = [];
  for (const variable of Object.values(trainable(trainer.pipeline.unet.params)))
    adapter.push(...(await variable.data()));
  return { image: [...(await images.data())], reward: [...reward], loss, gradNorm, adapter };
}

/** The largest differences from other values: relative to the largest value, except for pixels. */
export function describeDifference(actual: Computed, expected: Computed): string {
  const keys = Object.keys(expected) as (keyof Computed)[];
  return keys
    .map((key) => {
      const largest = key === 'image' ? 1 : Math.max(...expected[key].map(Math.abs));
      const differences = expected[key].map((value, i) => Math.abs(value - actual[key][i]!) / largest);
      return `${key} ${Math.max(...differences).toExponential(1)}`;
    })
    .join(', ');
}
