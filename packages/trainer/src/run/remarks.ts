import { usesGuidance, type StableDiffusionPipeline } from '@alignprop/diffusion';
import type { AlignPropConfig } from '../config/config.js';
import { emptyProbability, type Plan } from '../estimators/plans.js';
import type { SavedActivations } from '../gradient/pipeline-chain.js';
import type { Logger } from '../logger.js';

/** Logs, once per run, for how many attached steps the activations are saved for backward. */
export class ActivationsRemark {
  #isLogged = false;

  constructor(readonly logger: Logger) {}

  log({ saved, recomputed, bytes }: SavedActivations): void {
    if (this.#isLogged || saved === 0) return;
    this.#isLogged = true;
    const rest = recomputed > 0 ? `; ${recomputed} are recomputed for lack of memory` : '';
    const size = `${(bytes / 2 ** 20).toFixed(0)} MiB each`;
    this.logger.info(`The activations of ${saved} attached steps are saved for backward (${size})${rest}.`);
  }
}

/** Warns of options that have no effect, and of a plan that often attaches nothing. */
export function warnOfConfig(
  config: AlignPropConfig,
  plan: Plan,
  { engine: { precision }, unet }: StableDiffusionPipeline,
  logger: Logger,
): void {
  const empty = emptyProbability(plan, config.sample_num_steps);
  if (empty > 0.01) {
    const percent = `${(100 * empty).toFixed(1)} %`;
    const steps = config.sample_num_steps;
    logger.warn(`${percent} of the truncation draws attach none of the ${steps} steps; they are drawn again.`);
  }
  const { mixed_precision: mixedPrecision } = config;
  if (precision !== { no: precision, none: precision, fp16: 'float16', bf16: 'bfloat16' }[mixedPrecision])
    logger.warn(`mixed_precision '${mixedPrecision}' has no effect: this engine computes in ${precision}.`);
  if (usesGuidance(unet.config, config.sample_guidance_scale)) return;
  const why =
    unet.config.time_cond_proj_dim === null
      ? ' without guidance (sample_guidance_scale above 1).'
      : ': a latent consistency model has no unconditional branch.';
  for (const option of guidanceOptions(config)) logger.warn(`${option} has no effect${why}`);
}

/** The options that are given and act on guidance. */
const guidanceOptions = (config: AlignPropConfig): readonly string[] => [
  ...(config.negative_prompts === null ? [] : ['negative_prompts']),
  ...(config.guidance_interval === null ? [] : ['guidance_interval']),
  ...(config.cfg_gradient === 'both' ? [] : ['cfg_gradient']),
];
