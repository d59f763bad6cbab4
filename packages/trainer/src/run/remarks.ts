import type { Engine } from '@alignprop/autograd-ext';
import type { AlignPropConfig } from '../config/config.js';
import type { Logger } from '../logger.js';
import type { KeptSteps } from '../gradient/pipeline-chain.js';
import { emptyProbability, type Plan } from '../estimators/plans.js';

/** Says once how attached steps are differentiated. */
export function keptReporter(logger: Logger): (steps: KeptSteps) => void {
  let told = false;
  return ({ kept, recomputed, bytes }) => {
    if (told || kept === 0) return;
    told = true;
    const rest = recomputed > 0 ? ` and runs the model again at ${recomputed}: there is no memory for more` : '';
    logger.info(
      `The walk up reuses what the walk down computed at ${kept} attached steps (${(bytes / 2 ** 20).toFixed(0)} MiB each)${rest}.`,
    );
  };
}

/** Warns of what a configuration may not mean. */
export function warnOf(config: AlignPropConfig, plan: Plan, { precision }: Engine, logger: Logger): void {
  const empty = emptyProbability(plan, config.sample_num_steps);
  if (empty > 0.01)
    logger.warn(
      `${(100 * empty).toFixed(1)} % of the truncation draws attach none of the ${config.sample_num_steps} steps; they are drawn again.`,
    );
  const { mixed_precision: asked } = config;
  if (asked === 'bf16' || (asked === 'fp16' && precision !== 'float16'))
    logger.warn(`mixed_precision '${asked}' has no effect: this engine computes in ${precision}.`);
  if (config.sample_guidance_scale <= 1 && config.negative_prompts !== null)
    logger.warn('negative_prompts have no effect without guidance (sample_guidance_scale above 1).');
}
