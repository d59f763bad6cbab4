import { dispose, scalar, tensor1d, type Tensor3D, type Tensor4D } from '@tensorflow/tfjs-core';
import type { Compiled, KeptForward, Vjp } from '@alignprop/autograd-ext';
import { guidedEmbeds, guidedPrediction, type StableDiffusionPipeline } from '@alignprop/diffusion';
import { removeLora } from '@alignprop/lora';
import type { Chain } from './walk-up.js';
import type { StepPlan } from '../estimators/plans.js';
import { embedsPath, trainsTextEncoder } from './text-encoder-gradients.js';

/** The embeddings of one micro-batch, `[B, L, D]` each. */
interface Conditioning {
  readonly promptEmbeds: Tensor3D;
  readonly negativePromptEmbeds?: Tensor3D;
}

/** A pipeline's denoising chain under the embeddings of one micro-batch. */
export interface PipelineChain {
  readonly chain: Chain;
  /**
   * The prediction for one walk down, called once a step: at attached steps it keeps what the walk up needs, while the
   * engine finds memory for it. The last steps, which the walk up meets first, are worth as much as any other.
   */
  predictDown(plan: readonly StepPlan[]): Compiled;
  /** Forgets what a walk down has kept. */
  forget(): void;
  release(): void;
}

/** How many attached steps were kept, and how many are computed again. */
export interface KeptSteps {
  readonly kept: number;
  readonly recomputed: number;
  /** Of one step. */
  readonly bytes: number;
}

/**
 * A pipeline's denoising chain, for `walkUp`: compiled once, then given the embeddings of each micro-batch.
 * @param options.reference whether it can predict without the adapter
 */
export function pipelineChain(
  pipeline: StableDiffusionPipeline,
  {
    guidanceScale,
    eta,
    reference = false,
    onKept,
  }: { guidanceScale: number; eta: number; reference?: boolean; onKept?: (steps: KeptSteps) => void },
): (conditioning: Conditioning) => PipelineChain {
  const { engine, unet, scheduler } = pipeline;
  const predict = guidedPrediction(unet.config);
  const trainsEmbeds = trainsTextEncoder(pipeline);
  const embedsInput = trainsEmbeds ? [2] : [];
  const plain = engine.compile(predict);
  const referred = reference ? { run: engine.compile(predict), params: removeLora(unet.params) } : undefined;
  const both = engine.compileVjp(predict, { wrt: [0, ...embedsInput] });
  const weightsOnly = engine.compileVjp(predict, { wrt: embedsInput });
  // One of them serves a whole walk, also the step that needs no more than the other gives: each maps the weights once
  // more.
  let predictVjp = weightsOnly;

  return ({ promptEmbeds, negativePromptEmbeds }) => {
    const embeds = guidedEmbeds(promptEmbeds, negativePromptEmbeds, guidanceScale);
    const scale = scalar(guidanceScale);
    const kept = new Map<number, KeptForward>(); // by step of the walk
    const forget = () => {
      kept.forEach((forward) => forward.release());
      kept.clear();
    };
    const chain: Chain = {
      scheduler,
      eta,
      async predictionVjp(latents, step, dy, inputGradient, index) {
        const asked = { latents: inputGradient, embeds: trainsEmbeds };
        const forward = kept.get(index);
        if (forward)
          return forward
            .backward(dy)
            .then((gradients) => pick(gradients, asked))
            .finally(() => (kept.delete(index), forward.release()));
        if (inputGradient) predictVjp = both;
        const timestep = tensor1d([step.t]);
        const { value, params, inputs } = await predictVjp(unet.params, [latents, timestep, embeds, scale], dy);
        dispose([value, timestep]);
        return pick({ params, inputs }, asked);
      },
      ...(referred && {
        async referencePrediction(latents, step) {
          const timestep = tensor1d([step.t]);
          const [prediction] = await referred
            .run(referred.params, latents, timestep, embeds, scale)
            .finally(() => timestep.dispose());
          return prediction as Tensor4D;
        },
      }),
    };
    const predictDown = (plan: readonly StepPlan[]): Compiled => {
      const earliest = plan.findIndex(({ attached }) => attached);
      if (plan.some(({ attached, inputDetached }, i) => attached && !inputDetached && i > earliest)) predictVjp = both;
      let next = 0;
      return async (params, ...inputs) => {
        const index = next++;
        const { attached } = plan[index]!;
        const forward = attached ? await predictVjp.keep?.(params, inputs) : undefined;
        if (forward) kept.set(index, forward);
        if (attached && index === plan.length - 1)
          onKept?.({
            kept: kept.size,
            recomputed: plan.filter((step) => step.attached).length - kept.size,
            bytes: forward?.bytes ?? 0,
          });
        return forward ? forward.outputs : plain(params, ...inputs);
      };
    };
    return { chain, predictDown, forget, release: () => (forget(), dispose([embeds, scale])) };
  };
}

/**
 * Of a gradient, what is asked for: that of the embeddings, which comes last, is summed up with those of the weights.
 */
function pick(
  { params, inputs }: Pick<Vjp, 'params' | 'inputs'>,
  { latents, embeds }: { latents: boolean; embeds: boolean },
): Pick<Vjp, 'params' | 'inputs'> {
  const ofEmbeds: Vjp['params'] = embeds ? { [embedsPath]: inputs.at(-1)! } : {};
  const ofLatents = inputs.slice(0, inputs.length - (embeds ? 1 : 0));
  if (!latents) dispose(ofLatents);
  return { params: { ...params, ...ofEmbeds }, inputs: latents ? ofLatents : [] };
}
