import { add, mean, mul, square, squeeze, slice, sub, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { disposeTensors, random } from '@alignprop/autograd-ext';
import type { RewardFunction } from '@alignprop/rewards';
import { beforeAll, describe, expect, it } from 'vitest';
import { engineNames, startEngine } from '../../../../fixtures/engines.js';
import { expectClose, fixtureJson, fixtureTensors, toNHWC } from '../../../../fixtures/index.js';
import { adaptedSD15, batchAt } from '../__fixtures__/adapted-sd15.js';
import { draftLV } from '../estimators/draft.js';
import { bridgePlan } from '../estimators/flowbp-bridge.js';
import { sparsePlan } from '../estimators/flowbp-sparse.js';
import { leapPlan } from '../estimators/leaps.js';
import { attachedStep, chainPlan, type DrawnPlan, type PlannedChain, type StepPlan } from '../estimators/plans.js';
import { AlignPropGradient, type GradientInputs } from '../gradient/alignprop-gradient.js';
import type { Trajectory } from '../gradient/walk-up.js';

/** One draw of an estimator, by the names of the papers. */
interface Method {
  /** The weight and the coupling of each step; none for DRaFT-LV, which is not one chain. */
  w?: number[];
  c?: number[];
  /** The step after which the chain ends. */
  last_step_walked?: number;
  shown?: 'x_0' | 'predicted-x_0';
  /** How many copies DRaFT-LV adds. */
  renoised?: number;
  S?: number[];
  gamma?: number;
  pre?: number[];
  post?: number[];
  k?: number;
  j?: number;
  alpha?: number;
  order?: number;
  nonstart?: number;
  tau?: number;
}
interface GoldenFile {
  lora: { lora_alpha: number };
  prompts: string[];
  negative_prompt: string;
  cfg: number;
  cases: Record<string, GoldenRun>;
}
interface GoldenRun {
  eta: number;
  steps: number;
  methods: Record<string, Method>;
}
type Golden = Record<string, Tensor>;

const golden = fixtureJson<GoldenFile>('estimators/case.json');

/** The plan of a method, by the code of its estimator; the tables of random numbers are plans of their own. */
function planOf(name: string, chain: PlannedChain, method: Method): DrawnPlan {
  const { S, gamma = 0, pre, post, k, j, alpha = 0, order = 1, nonstart = 0, tau, renoised } = method;
  if (renoised) return draftLV(renoised).draw(chain, random(0))!;
  if (pre && post)
    return bridgePlan(chain, { anchor: j!, active: [...pre, ...post] }, { coupling: alpha, rescale: gamma });
  if (k !== undefined) {
    const plan = leapPlan(chain, [k, j!], { order, coupling: alpha, otherWeight: nonstart, floor: tau ?? 0 });
    return name.endsWith('unweighted') ? { ...plan, distances: undefined } : plan;
  }
  if (S && name.startsWith('sparse')) return sparsePlan(chain, S, gamma);
  return { ...chainPlan(chain, new Map()), steps: tableOf(method), shown: method.shown! };
}

/** The factors of the steps that are walked. */
const tableOf = ({ w = [], c = [], last_step_walked: last = -1 }: Method): readonly StepPlan[] =>
  w.slice(0, last + 1).map((weight, i) => ({ weight, coupling: c[i]! }));

/** The noise of DRaFT-LV's copies in the order in which it is drawn: what is added and, if η is above 0, the step's. */
function noiseOfCopies({ lv_noise: added, lv_step_noise: ofSteps }: Golden, eta: number): () => Tensor4D {
  let calls = 0;
  const kinds = eta > 0 ? [added!, ofSteps!] : [added!];
  return () => batchAt(kinds[calls % kinds.length]!, Math.floor(calls++ / kinds.length));
}

/** 60 · mean(image · pattern) - 8 · mean((image - target)²). */
function goldenReward(common: Golden): RewardFunction {
  const [pattern, target] = [toNHWC(common.pattern!), toNHWC(common.target!)];
  return (images) =>
    add(mul(mean(mul(images, pattern), [1, 2, 3]), 60), mul(mean(square(sub(images, target)), [1, 2, 3]), -8));
}

describe.each(engineNames)('The estimators on %s', (engineName) => {
  const isWhole = engineName !== 'cpu' || process.env.EVERY_CASE;
  const runs = Object.entries(golden.cases).filter(([run]) => isWhole || run === 'eta0');
  describe.each(runs)('at %s', (run, { eta, steps, methods }) => {
    let gradient: AlignPropGradient<unknown>;
    let inputs: GradientInputs<unknown>;
    let trajectory: Trajectory;
    let chain: Golden;

    beforeAll(async () => {
      const engine = await startEngine(engineName);
      const common = await fixtureTensors('estimators/common.safetensors');
      chain = await fixtureTensors(`estimators/${run}.common.safetensors`);
      const pipeline = await adaptedSD15(engine, common, golden.lora.lora_alpha);
      const { prompts, negative_prompt: negative, cfg } = golden;
      gradient = new AlignPropGradient(pipeline, goldenReward(common), {
        ...{ numInferenceSteps: steps, guidanceScale: cfg, eta },
      });
      inputs = {
        latents: toNHWC(chain.initial_latents!),
        noise: ({ index }) => batchAt(chain.noise!, index),
        promptEmbeds: (await pipeline.encodePrompt(prompts)).promptEmbeds,
        negativePromptEmbeds: (await pipeline.encodePrompt(prompts.map(() => negative))).promptEmbeds,
        plan: chainPlan(gradient.chain, new Map([[steps - 1, attachedStep]])),
        prompts,
        promptMetadata: [],
      };
      const walk = gradient.begin(inputs);
      trajectory = await walk.walkDown();
      walk.dispose();
      trajectory.latents.forEach((x, i) => expectClose(x, batchAt(chain.latents!, i), 1e-3, `latents ${i}`));
    });

    // The factors of a step are no concern of a backend: the slowest takes one method with both, and with distances.
    // EVERY_CASE=1 takes all.
    const taken = Object.entries(methods).filter(([name]) => isWhole || name === 'leapalign');

    it.each(taken)("%s has the papers' factors, rewards, weights of images and gradient", async (name, method) => {
      const io = await fixtureTensors(`estimators/${run}.${name}.safetensors`);
      const plan = planOf(name, gradient.chain, method);
      tableOf(method).forEach(({ weight, coupling }, i) => {
        expect(plan.steps[i]!.weight, `weight ${i}`).toBeCloseTo(weight, 6);
        expect(plan.steps[i]!.coupling, `coupling ${i}`).toBeCloseTo(coupling, 6);
      });
      const noise = plan.renoised > 0 ? noiseOfCopies(chain, eta) : inputs.noise;
      const microBatch = gradient.begin({ ...inputs, plan, noise });
      const walked = plan.shown === 'x_0' ? trajectory : await microBatch.walkDown();
      expectClose(walked.latents.at(-1)!, toNHWC(io.shown!), 1e-3, 'what the reward judges');
      const judged = await microBatch.judge(walked);
      expectClose(judged.rewards, squeeze(slice(io.rewards!, [0, 0], [1, 2]), [0]), 1e-4, 'rewards');
      const up = await microBatch.walkUp(walked, judged);
      const params = await microBatch.gather(up.params, walked);
      const wanted = Object.entries(io).filter(([key]) => key.startsWith('grad.'));
      expect(wanted.length).toBeGreaterThan(60);
      for (const [key, expected] of wanted) expectClose(params[key.slice('grad.'.length)]!, expected, 1e-3, key);
      microBatch.dispose();
      disposeTensors([judged, up.latents, params]);
    });
  });
});
