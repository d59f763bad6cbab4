import { DDIMScheduler } from './ddim.js';
import { PNDMScheduler } from './pndm.js';
import { explicitFields } from './scheduler-config.js';
import type { Scheduler, SchedulerConfig } from './scheduler.js';

/**
 * Every scheduler under diffusers' class name. A new scheduler is one file and one entry here; contract.test.ts runs
 * the contract test on each entry.
 */
export const schedulers = { DDIMScheduler, PNDMScheduler } satisfies Readonly<
  Record<string, new (config: SchedulerConfig) => Scheduler>
>;

/**
 * Creates the scheduler of a `scheduler_config.json`.
 * @throws if `_class_name` is missing or unknown, or the class does not support an option
 */
export function createScheduler(config: SchedulerConfig): Scheduler {
  const name = config._class_name;
  if (!isSchedulerName(name)) {
    throw new Error(
      `createScheduler: _class_name got ${JSON.stringify(name)}, ` +
        `expected one of ${Object.keys(schedulers).join(', ')}. ` +
        'Most Stable Diffusion files also work with DDIMScheduler.fromConfig(config).',
    );
  }
  return new schedulers[name](explicitFields(config));
}

/**
 * Creates the scheduler of a Stable Diffusion folder. Sets `steps_offset` to 1 and `clip_sample` to false if the class
 * has the option, as diffusers' `StableDiffusionPipeline` does: files that are older than these options lack them.
 * @throws as `createScheduler`
 */
export function createStableDiffusionScheduler(config: SchedulerConfig): Scheduler {
  const { config: resolved } = createScheduler(config);
  const corrections = {
    ...('steps_offset' in resolved && { steps_offset: 1 }),
    ...(resolved.clip_sample === true && { clip_sample: false }),
  };
  return createScheduler({ ...config, ...corrections });
}

const isSchedulerName = (name: unknown): name is keyof typeof schedulers =>
  typeof name === 'string' && Object.hasOwn(schedulers, name);
