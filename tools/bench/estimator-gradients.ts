import { add, dispose, mul, tensor, tidy } from '@tensorflow/tfjs-core';
import { disposeTensors, OnnxRuntimeEngine, random, trainable } from '@alignprop/autograd-ext';
import { DDIMScheduler, StableDiffusionPipeline } from '@alignprop/diffusion';
import { addLora } from '@alignprop/lora';
import type { RewardFunction } from '@alignprop/rewards';
import {
  AlignPropGradient,
  backpropPlan,
  drawPlan,
  parseAlignPropConfig,
  type AlignPropConfigInput,
} from '@alignprop/trainer';
import { embeddedModel } from '../../packages/cli/src/embedded-model.js';
import { setting } from './estimators-run.js';

/** The draws of an estimator's gradient beside the gradient of the whole chain. */
export interface GradientStatistics {
  /** The cosine of one draw, on average. */
  readonly cosine: number;
  /** The cosine of the mean of all draws. */
  readonly cosineOfMean: number;
  /** The mean squared distance of the draws from their mean, over its squared length. */
  readonly variance: number;
}

const draws = 8;

/**
 * Measures the gradients of estimators on the same chains: of a few prompts, with an adapter that has not been trained
 * but whose B is not zero, so that A has a gradient too.
 */
export async function gradientStatistics(
  methods: Readonly<Record<string, AlignPropConfigInput>>,
  reward: RewardFunction,
): Promise<Readonly<Record<string, GradientStatistics>>> {
  const engine = new OnnxRuntimeEngine({ threads: 1 });
  const base = await StableDiffusionPipeline.fromPretrained(embeddedModel.path, { engine });
  const targetModules = ['to_k', 'to_q', 'to_v', 'to_out.0'];
  const params = addLora(base.unet.params, { r: 4, loraAlpha: 4, targetModules }, random(1));
  const noise = random(2);
  for (const variable of Object.values(trainable(params))) {
    const moved = tidy(() => add(variable, mul(tensor(noise.randn(variable.size), variable.shape), 0.02)));
    variable.assign(moved);
    moved.dispose();
  }
  const pipeline = base.with({
    unet: base.unet.withParams(params),
    scheduler: DDIMScheduler.fromConfig(base.scheduler.config),
  });
  const ofMethod = async (config: AlignPropConfigInput, count: number): Promise<Float64Array[]> => {
    const complete = parseAlignPropConfig({ ...setting, ...config });
    const gradient = new AlignPropGradient(pipeline, reward, {
      numInferenceSteps: setting.sample_num_steps,
      guidanceScale: setting.sample_guidance_scale,
      eta: setting.sample_eta,
      cfgGradient: complete.cfg_gradient,
      ...(complete.guidance_interval && { guidanceInterval: complete.guidance_interval }),
    });
    const generator = random(3);
    const found: Float64Array[] = [];
    for (let draw = 0; draw < count; draw++) {
      const prompts = [embeddedModel.evalPrompts[0], embeddedModel.evalPrompts[3]];
      const inputs = {
        latents: pipeline.prepareLatents({ batch: 2, numInferenceSteps: 10, generator: random(4) }),
        promptEmbeds: (await pipeline.encodePrompt(prompts)).promptEmbeds,
        negativePromptEmbeds: (await pipeline.encodePrompt(['', ''])).promptEmbeds,
        noise: random(5 + draw),
        plan: drawPlan(backpropPlan(complete), gradient.chain, generator),
        prompts,
        promptMetadata: [],
      };
      const { params: gradients, ...rest } = await gradient.compute(inputs);
      found.push(Float64Array.from(Object.values(gradients).flatMap((tensor) => [...tensor.dataSync()])));
      disposeTensors([gradients, rest]);
      dispose([inputs.latents, inputs.promptEmbeds, inputs.negativePromptEmbeds]);
    }
    return found;
  };
  const [exact] = await ofMethod({ estimator: 'full' }, 1);
  const statistics: Record<string, GradientStatistics> = {};
  for (const [name, config] of Object.entries(methods)) {
    statistics[name] = statisticsOf(await ofMethod(config, draws), exact!);
    const { cosine, cosineOfMean, variance } = statistics[name];
    console.log(`${name}: cosine ${cosine.toFixed(3)}, of the mean ${cosineOfMean.toFixed(3)}, ${variance.toFixed(2)}`);
  }
  engine.dispose();
  return statistics;
}

function statisticsOf(found: readonly Float64Array[], exact: Float64Array): GradientStatistics {
  const mean = exact.map((_, i) => average(found.map((gradient) => gradient[i]!)));
  const distances = found.map((gradient) => squared(gradient.map((value, i) => value - mean[i]!)));
  return {
    cosine: average(found.map((gradient) => cosineOf(gradient, exact))),
    cosineOfMean: cosineOf(mean, exact),
    variance: average(distances) / squared(mean),
  };
}

const average = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, value, i) => sum + value * b[i]!, 0);
const squared = (a: Float64Array): number => dot(a, a);
const cosineOf = (a: Float64Array, b: Float64Array): number => dot(a, b) / Math.sqrt(squared(a) * squared(b));
