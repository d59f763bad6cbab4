import { add, clone, dispose, div, mul, zerosLike, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { disposeTensors, vjp } from '@alignprop/autograd-ext';
import type { Scheduler, Step } from '@alignprop/diffusion';
import { isEntered, trains, type Shown, type StepPlan } from '../estimators/plans.js';
import { levelsAfter } from './exact-step.js';
import { penalised, type Penalties, type PenaltyWeights } from './prediction-penalties.js';
import { accumulate, type Gradients } from '../optim/gradients.js';

/** A walk down a denoising chain: no tape, only the latents and predictions that the walk up needs. */
export interface Trajectory {
  /** The steps walked: all of a schedule, or fewer where the chain ends early. */
  readonly steps: readonly Step[];
  /** Kind of the last of the latents: x_0, a predicted x_0, or one recovered from known noise. */
  readonly shown: Shown;
  /** x_T … x_0, one more than there are steps, `[B, h, w, C]`; the reward judges the last. */
  readonly latents: readonly Tensor4D[];
  /** The (guided) prediction at each step, `[B, h, w, C]`. */
  readonly modelOutputs: readonly Tensor4D[];
}

/** The model and the scheduler that the walk up differentiates. */
export interface Chain {
  readonly scheduler: Scheduler;
  /** DDIM's η. */
  readonly eta: number;
  /**
   * Multiplies `dy` `[B, h, w, C]` with the Jacobian of the prediction at a step. `index` is the step's place in the
   * walk. `inputs` holds the gradient of the latents if `inputGradient` asks for it, and is empty otherwise.
   */
  predictionVjp(
    latents: Tensor4D,
    step: Step,
    dy: Tensor4D,
    inputGradient: boolean,
    index: number,
  ): Promise<{ params: Gradients; inputs: readonly Tensor[] }>;
  /** Predicts with the reference model from the same latents, for a KL penalty. The tensor belongs to the caller. */
  referencePrediction?(latents: Tensor4D, step: Step): Promise<Tensor4D>;
}

/** The gradients of a walk up. Tensors belong to the caller. */
export interface ChainGradients {
  /** Weighted sums over the steps that train, by parameter path. */
  readonly params: Gradients;
  /**
   * dL/dx_T … dL/dx_0, parallel to `Trajectory.latents`; undefined for the input of the earliest step that trains and
   * all noisier latents.
   */
  readonly latents: readonly (Tensor4D | undefined)[];
  /** With weights of penalties: their means over trained steps. */
  readonly penalties?: Penalties;
}

export interface WalkUpOptions {
  readonly signal?: AbortSignal;
  /** Weights of penalties on the predictions; 0 by default. */
  readonly penaltyWeights?: Partial<PenaltyWeights>;
}

/** Options of the walk up at one step. */
interface StepOptions {
  readonly plan: StepPlan;
  readonly weights: PenaltyWeights;
}

/**
 * Backpropagates through a denoising chain as a reverse loop of one-step vector-Jacobian products. With x' = S(ε, x)
 * the scheduler's step and ε = E(x) the prediction, at every step
 *
 *   dL/dx = (∂S/∂x)ᵀ g + c·(∂E/∂x)ᵀ (∂S/∂ε)ᵀ g,   dL/dθ += w·(∂E/∂θ)ᵀ (∂S/∂ε)ᵀ g,
 *
 * where w and c are the weight and the coupling that the plan has for the step. Where both are 0 the step costs only
 * the scheduler's own path, never the model. Where the reward is shown a predicted x_0, S is that prediction at the
 * last step. The loop ends at the earliest step that trains. Memory: one model call and T latents.
 *
 * Penalties on the predictions (`Penalties`) are added to the loss, as means over trained steps, whatever the weights
 * of these; their gradient is added to w·(∂S/∂ε)ᵀ g, and passes to the latents by c / w. As in torch under `no_grad`,
 * ε_ref counts as a constant, also where the gradient of the latents goes through ε.
 * @param gradient dL/dx_0, that of the last latents `[B, h, w, C]`; stays the caller's
 * @throws if the plan does not fit the trajectory or trains nothing; the signal's reason, between steps; nothing
 *   stays allocated then
 */
export async function walkUp(
  chain: Chain,
  trajectory: Trajectory,
  plan: readonly StepPlan[],
  gradient: Tensor4D,
  { signal, penaltyWeights: { kl = 0, norm = 0 } = {} }: WalkUpOptions = {},
): Promise<ChainGradients> {
  const { steps } = trajectory;
  const earliest = plan.findIndex(trains);
  if (plan.length !== steps.length || earliest < 0) {
    throw new Error(
      `walkUp: plan got ${plan.length} entries with the first that trains at ${earliest}, ` +
        `expected ${steps.length} entries with at least one that trains.`,
    );
  }
  const latents: (Tensor4D | undefined)[] = steps.map(() => undefined);
  const share = 1 / plan.filter(trains).length;
  let params: Gradients = {};
  const penalties = { kl: 0, normExcess: 0 };
  try {
    latents.push(clone(gradient));
    for (let i = steps.length - 1; i >= earliest; i--) {
      signal?.throwIfAborted();
      const { weight, coupling } = plan[i]!;
      const up = await stepUp(chain, trajectory, i, latents[i + 1]!, {
        plan: { weight, coupling: i > earliest ? coupling : 0 },
        weights: { kl: kl * share, norm: norm * share },
      });
      params = accumulate(params, up.params);
      penalties.kl += (up.penalties?.kl ?? 0) * share;
      penalties.normExcess += (up.penalties?.normExcess ?? 0) * share;
      if (i > earliest) latents[i] = up.latents;
      else up.latents.dispose();
    }
    return { params, latents, ...((kl > 0 || norm > 0) && { penalties }) };
  } catch (error) {
    dispose([params, latents]);
    throw error;
  }
}

/**
 * One step of the loop: takes dL/dx_{t-1} `[B, h, w, C]` to dL/dx_t of the same shape, and to dL/dθ where the step
 * trains.
 */
async function stepUp(
  chain: Chain,
  trajectory: Trajectory,
  i: number,
  gradient: Tensor4D,
  { plan, weights }: StepOptions,
): Promise<{ params: Gradients; latents: Tensor4D; penalties?: Penalties }> {
  const { steps, latents, modelOutputs } = trajectory;
  const [direct, ofPrediction] = schedulerVjp(chain, trajectory, i, gradient, plan); // (∂S/∂x)ᵀ g, (∂S/∂ε)ᵀ g
  if (!ofPrediction) return { params: {}, latents: direct };
  const { weight, coupling } = plan;
  const dy = trains(plan) ? times(ofPrediction, weight) : ofPrediction;
  const owned: Tensor[] = [direct, dy];
  try {
    const isCompared = (weights.kl > 0 || weights.norm > 0) && trains(plan);
    const reference = isCompared ? await chain.referencePrediction!(latents[i]!, steps[i]!) : undefined;
    if (reference) owned.push(reference);
    const penalty = reference && (await penalised(dy, modelOutputs[i]!, reference, weights));
    if (penalty) owned.push(penalty.dy);
    const through = await chain.predictionVjp(latents[i]!, steps[i]!, penalty?.dy ?? dy, coupling !== 0, i);
    if (!trains(plan)) disposeTensors(through.params);
    const [passed] = through.inputs.map((input) => times(input, trains(plan) ? coupling / weight : coupling));
    const sum = passed ? (add(direct, passed) as Tensor4D) : clone(direct);
    passed?.dispose();
    const params = trains(plan) ? through.params : {};
    return { params, latents: sum, penalties: penalty?.penalties };
  } finally {
    dispose(owned);
  }
}

/** Multiplies a tensor, which it takes over, with a number. */
function times<T extends Tensor>(x: T, factor: number): T {
  if (factor === 1) return x;
  const product: T = mul(x, factor);
  x.dispose();
  return product;
}

/** The VJP of the scheduler's step: the gradients of its sample and, where the model is entered, of the prediction. */
function schedulerVjp(
  { scheduler, eta }: Chain,
  { steps, shown, latents, modelOutputs }: Trajectory,
  i: number,
  gradient: Tensor4D,
  plan: StepPlan,
): [sample: Tensor4D, modelOutput?: Tensor4D] {
  const sample = latents[i]!;
  const isRecovered = shown === 'recovered-x_0';
  const output = shown === 'predicted-x_0' && i === steps.length - 1 ? 'predOriginalSample' : 'prevSample';
  const step = (x: Tensor, modelOutput: Tensor) => {
    // The noise is a constant summand: its values do not enter the gradient.
    const options = { eta: isRecovered ? 0 : eta, noise: zerosLike(sample) };
    const next = scheduler.step(modelOutput as Tensor4D, steps[i]!, x as Tensor4D, options)[output];
    return isRecovered ? div(next, levelsAfter(scheduler, steps[i]!).signal) : next;
  };
  const { value, inputs } = vjp(
    (_, x, modelOutput) => step(x!, modelOutput!),
    {},
    [sample, modelOutputs[i]!],
    gradient,
    isEntered(plan) ? [0, 1] : [0],
  );
  value.dispose();
  return inputs as [Tensor4D, Tensor4D?];
}
