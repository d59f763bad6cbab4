import {
  add,
  clone,
  dispose,
  mean,
  mul,
  square,
  sub,
  tidy,
  zerosLike,
  type Scalar,
  type Tensor,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { vjp } from '@alignprop/autograd-ext';
import type { Scheduler, Step } from '@alignprop/diffusion';
import { accumulate, type Gradients } from '../optim/gradients.js';
import type { Shown, StepPlan } from '../estimators/plans.js';

/** A walk down a denoising chain, kept for the walk up: no tape, only latents and predictions. */
export interface Trajectory {
  /** The steps walked: all of a schedule, or fewer where the chain ends early. */
  readonly steps: readonly Step[];
  /** What the last step gives. */
  readonly shown: Shown;
  /** x_T … x_0, one more than there are steps, `[B, h, w, C]`; the last is what the reward is shown. */
  readonly latents: readonly Tensor4D[];
  /** The (guided) prediction at each step, `[B, h, w, C]`. */
  readonly modelOutputs: readonly Tensor4D[];
}

/** What the walk up differentiates. */
export interface Chain {
  readonly scheduler: Scheduler;
  readonly eta: number;
  /**
   * The product of `dy` with the Jacobian of the prediction at a step, run again from `latents` unless the walk down
   * kept it. `index` is the step's place in the walk. `inputs` holds the gradient of the latents when `inputGradient`
   * asks for it.
   */
  predictionVjp(
    latents: Tensor4D,
    step: Step,
    dy: Tensor4D,
    inputGradient: boolean,
    index: number,
  ): Promise<{ params: Gradients; inputs: readonly Tensor[] }>;
  /** The prediction of the model that training must not leave, run from the same latents; the caller's. */
  referencePrediction?(latents: Tensor4D, step: Step): Promise<Tensor4D>;
}

/** Tensors belong to the caller. */
export interface ChainGradients {
  /** Sums over the attached steps, by parameter path. */
  readonly params: Gradients;
  /**
   * dL/dx_T … dL/dx_0, as `Trajectory.latents`, what is shown last; undefined at and above (noisier than) the input of
   * the earliest attached step.
   */
  readonly latents: readonly (Tensor4D | undefined)[];
  /**
   * The mean squared difference from the reference predictions, over attached steps and elements; with a `klWeight`
   * only.
   */
  readonly kl?: number;
}

/**
 * Backpropagation through a denoising chain as a reverse loop of one-step vector-Jacobian products. With
 * x' = S(ε, x) the scheduler's step and ε = E(x) the prediction, at every step
 *
 *   dL/dx = (∂S/∂x)ᵀ g + a·d·(∂E/∂x)ᵀ (∂S/∂ε)ᵀ g,   dL/dθ += a·(∂E/∂θ)ᵀ (∂S/∂ε)ᵀ g,
 *
 * where a is 1 at attached steps and d is 0 where the model's input is detached. A detached step therefore costs only
 * the scheduler's own path, never the model. Where the reward is shown a predicted x_0, S is that prediction at the
 * last step. The loop ends at the earliest attached step. Memory: one model call and T latents.
 *
 * With a `klWeight` λ the loss has λ·mean(ε - ε_ref)² besides, a mean over attached steps and elements (DRaFT+), which
 * is added to (∂S/∂ε)ᵀ g. As in torch under `no_grad`, ε_ref counts as a constant, also where the gradient of the
 * latents goes through ε.
 * @param gradient that of what the reward is shown, the last of the latents; stays the caller's
 * @throws the signal's reason, between steps; nothing stays allocated then
 */
export async function walkUp(
  chain: Chain,
  trajectory: Trajectory,
  plan: readonly StepPlan[],
  gradient: Tensor4D,
  { signal, klWeight = 0 }: { signal?: AbortSignal; klWeight?: number } = {},
): Promise<ChainGradients> {
  const { steps } = trajectory;
  const earliest = plan.findIndex(({ attached }) => attached);
  if (plan.length !== steps.length || earliest < 0) {
    throw new Error(
      `walkUp: plan got ${plan.length} entries with the first attached at ${earliest}, expected ${steps.length} entries with at least one attached.`,
    );
  }
  const latents: (Tensor4D | undefined)[] = steps.map(() => undefined);
  let params: Gradients = {};
  const share = 1 / plan.filter(({ attached }) => attached).length;
  let kl = 0;
  try {
    latents.push(clone(gradient));
    for (let i = steps.length - 1; i >= earliest; i--) {
      signal?.throwIfAborted();
      const inputGradient = i > earliest && !plan[i]!.inputDetached;
      const up = await stepUp(
        chain,
        trajectory,
        i,
        latents[i + 1]!,
        plan[i]!.attached,
        inputGradient,
        klWeight * share,
      );
      params = accumulate(params, up.params);
      kl += up.kl * share;
      if (i > earliest) latents[i] = up.latents;
      else up.latents.dispose();
    }
    return { params, latents, ...(klWeight > 0 && { kl }) };
  } catch (error) {
    dispose([params, latents]);
    throw error;
  }
}

async function stepUp(
  { scheduler, eta, predictionVjp, referencePrediction }: Chain,
  { steps, shown, latents, modelOutputs }: Trajectory,
  i: number,
  gradient: Tensor4D,
  attached: boolean,
  inputGradient: boolean,
  klWeight: number,
): Promise<{ params: Gradients; latents: Tensor4D; kl: number }> {
  const sample = latents[i]!;
  const output = shown === 'predicted-x_0' && i === steps.length - 1 ? 'predOriginalSample' : 'prevSample';
  // The noise only adds, so that its values do not matter here.
  const step = (x: Tensor, modelOutput: Tensor) =>
    scheduler.step(modelOutput as Tensor4D, steps[i]!, x as Tensor4D, { eta, noise: zerosLike(sample) })[output];
  const path = vjp(
    (_, x, modelOutput) => step(x!, modelOutput!),
    {},
    [sample, modelOutputs[i]!],
    gradient,
    attached ? [0, 1] : [0],
  );
  path.value.dispose();
  const [direct, dy] = path.inputs as readonly [Tensor4D, Tensor4D];
  if (!attached) return { params: {}, latents: direct, kl: 0 };
  const owned: Tensor[] = [direct, dy];
  try {
    const reference = klWeight > 0 ? await referencePrediction!(sample, steps[i]!) : undefined;
    const penalty = reference && penalised(dy, modelOutputs[i]!, reference, klWeight);
    if (penalty) owned.push(reference, penalty.dy, penalty.kl);
    const through = await predictionVjp(sample, steps[i]!, penalty?.dy ?? dy, inputGradient, i);
    const sum = through.inputs[0] ? (add(direct, through.inputs[0]) as Tensor4D) : clone(direct);
    dispose([...through.inputs]);
    return { params: through.params, latents: sum, kl: penalty ? (await penalty.kl.data())[0]! : 0 };
  } finally {
    dispose(owned);
  }
}

/** The gradient of a prediction, with that of weight·mean(difference²). */
const penalised = (
  dy: Tensor4D,
  prediction: Tensor4D,
  reference: Tensor4D,
  weight: number,
): { dy: Tensor4D; kl: Scalar } =>
  tidy(() => {
    const difference = sub(prediction, reference);
    return { dy: add(dy, mul(difference, (2 * weight) / difference.size)), kl: mean(square(difference)) };
  });
