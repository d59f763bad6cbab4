import { disposeTensors } from '@alignprop/autograd-ext';
import type { RewardFunction } from '@alignprop/rewards';
import type { AlignPropConfig } from '../config/config.js';
import { backpropPlan } from '../estimators/config-plan.js';
import { plannedChain } from '../estimators/planned-chain.js';
import {
  attachProbabilities,
  drawPlan,
  trains,
  type DrawnPlan,
  type Plan,
  type PlannedChain,
} from '../estimators/plans.js';
import type { Dataset } from '../data/examples.js';
import { AlignPropGradient, gradientOptions } from '../gradient/alignprop-gradient.js';
import { TensorScope } from '../gradient/tensor-scope.js';
import { samplingOptions } from '../gradient/walk-down.js';
import { createDataTerm, givenImages } from '../step/data-term.js';
import type { Generators } from '../step/generators.js';
import { MicroBatches } from '../step/micro-batch.js';
import { simulateRun, type SimulatedMemory, type SimulationInputs } from './simulated-run.js';

/** The plan of a run, and the memory it would need. */
export interface DryRun extends SimulatedMemory {
  /** The probability for each denoising step, the noisiest first. */
  readonly attachProbabilities: readonly number[];
  /** The most steps that one chain of this run attaches. */
  readonly mostAttached: number;
  /** Images per optimizer step. */
  readonly effectiveBatch: number;
}

export interface DryRunInputs<M> extends SimulationInputs<M> {
  config: AlignPropConfig;
  rewardFunction: RewardFunction<M>;
  /** A prompt of the run, and its metadata. */
  prompt?: string;
  promptMetadata?: M;
  /** As `AlignPropTrainerOptions.dataset`. */
  dataset?: Dataset;
}

/**
 * Simulates two micro-batches with the heaviest plan of the run, and an evaluation, on an engine that runs nothing, and
 * reports their peak memory. Needs tfjs's cpu backend, on which zeros take no memory.
 */
export async function dryRun<M>(inputs: DryRunInputs<M>): Promise<DryRun> {
  const { config, rewardFunction, rewardDecoder, dataset, prompt = '', promptMetadata } = inputs;
  const plan = backpropPlan(config);
  let mostAttached = 0;
  let probabilities: readonly number[] = [];
  const simulated = await simulateRun(inputs, async ({ pipeline, generators }) => {
    const chain = plannedChain(pipeline.scheduler, samplingOptions(config));
    const heaviest = heaviestPlan(config, plan, chain, generators);
    mostAttached = trainedSteps(heaviest);
    probabilities = attachProbabilities(plan, chain);
    const draw = (): [string, M] => [prompt, promptMetadata as M];
    const batches = new MicroBatches<M>(
      pipeline,
      draw,
      config,
      plan,
      generators,
      givenImages(pipeline, dataset, config, generators.data),
    );
    const gradient = new AlignPropGradient(pipeline, rewardFunction, { ...gradientOptions(config), rewardDecoder });
    const data = createDataTerm(gradient, dataset, config, generators.data);
    try {
      for (let round = 0; round < 2; round++) {
        await simulateMicroBatch(batches, gradient, generators, heaviest);
        disposeTensors(await data?.gradients(1));
      }
    } finally {
      batches.dispose();
    }
  });
  return {
    ...simulated,
    attachProbabilities: probabilities,
    mostAttached,
    effectiveBatch: config.train_batch_size * config.train_gradient_accumulation_steps,
  };
}

async function simulateMicroBatch<M>(
  batches: MicroBatches<M>,
  gradient: AlignPropGradient<M>,
  { noise }: Generators,
  plan: DrawnPlan,
): Promise<void> {
  const scope = new TensorScope();
  try {
    const texts = await batches.drawPrompts(0);
    const embeds = scope.own(await batches.encode(texts));
    const latents = scope.own(await batches.drawLatents(texts));
    const window = batches.drawWindow();
    disposeTensors(await gradient.compute({ ...texts, ...embeds, latents, plan, window, noise }));
  } finally {
    scope.dispose();
  }
}

/** Returns the plan that trains the most steps, among the first 1000 that the run draws. */
function heaviestPlan(
  { num_epochs, train_gradient_accumulation_steps: rounds }: AlignPropConfig,
  plan: Plan,
  chain: PlannedChain,
  generators: Generators,
): DrawnPlan {
  const draws = Array.from({ length: Math.min(num_epochs * rounds, 1000) }, () =>
    drawPlan(plan, chain, generators.plan),
  );
  return draws.reduce((heaviest, draw) => (trainedSteps(draw) > trainedSteps(heaviest) ? draw : heaviest));
}

const trainedSteps = ({ steps }: DrawnPlan): number => steps.filter(trains).length;
