import type { Scheduler, StableDiffusionPipeline } from '@alignprop/diffusion';
import type { AlignPropConfig } from '../config/config.js';
import { className, namedScheduler, trainableSchedulers } from '../config/trainable-schedulers.js';

/** The options that decide the chain of a run. */
export interface ChainConfig extends Pick<AlignPropConfig, 'scheduler' | 'sample_num_steps' | 'eval_num_steps'> {
  /** The trainer, which errors name; AlignPropTrainer by default. */
  owner?: string;
}

/**
 * Creates the scheduler that a run trains through, with the noise schedule of the model's own.
 * @throws if its steps read earlier model calls, it has no chain of the configured length, or the model cannot be
 *   sampled with it
 */
export function chainScheduler(
  { unet, scheduler: own }: StableDiffusionPipeline,
  { scheduler: name, sample_num_steps: steps, eval_num_steps, owner = 'AlignPropTrainer' }: ChainConfig,
): Scheduler {
  const scheduler = namedScheduler(name, own);
  if (scheduler.historyLength > 0)
    throw new Error(
      `${owner}: scheduler got '${name}', the model's ${className(scheduler)}, whose steps depend on earlier model ` +
        `calls, expected one of ${trainableSchedulers.join(', ')} without such steps. Set scheduler to 'ddim'.`,
    );
  if (unet.config.time_cond_proj_dim !== null && !consistencySchedulers.includes(className(scheduler)))
    throw new Error(
      `${owner}: scheduler got '${name}' (${className(scheduler)}) for a latent consistency model (a UNet with ` +
        "time_cond_proj_dim), expected 'lcm' or 'tcd': other steps cannot sample it. Leave scheduler out.",
    );
  for (const [option, count] of Object.entries({ sample_num_steps: steps, eval_num_steps: eval_num_steps ?? steps }))
    checkLength(scheduler, option, count, owner);
  return scheduler;
}

const consistencySchedulers = ['LCMScheduler', 'TCDScheduler'];

/** @throws if the chain of so many steps has another number of model calls, or does not exist */
function checkLength(scheduler: Scheduler, option: string, count: number, owner: string): void {
  const { length } = scheduler.timesteps(count);
  if (length === count) return;
  throw new Error(
    `${owner}: ${option} got ${count}, for which ${className(scheduler)} makes ${length} steps, expected as many. ` +
      'Try a divisor of 1000.',
  );
}
