import { explicitFields } from './scheduler-config.js';
import { DDIMScheduler } from './ddim.js';
import { PNDMScheduler } from './pndm.js';
import type { Scheduler, SchedulerConfig } from './scheduler.js';

const classes: Readonly<Record<string, new (config: SchedulerConfig) => Scheduler>> = { DDIMScheduler, PNDMScheduler };

/** Values of `_class_name` that `createScheduler` knows. */
export const schedulerClasses = Object.keys(classes) as readonly string[];

/**
 * The scheduler of a `scheduler_config.json`.
 * @throws if `_class_name` is missing or unknown, or a value is not as the class demands
 */
export function createScheduler(config: SchedulerConfig): Scheduler {
  const name = config._class_name;
  if (typeof name !== 'string' || !Object.hasOwn(classes, name)) {
    throw new Error(
      `createScheduler: _class_name got ${JSON.stringify(name)}, expected one of ${schedulerClasses.join(', ')}. Most Stable Diffusion files also work with DDIMScheduler.fromConfig(config).`,
    );
  }
  return new classes[name]!(explicitFields(config));
}

/**
 * The scheduler of a Stable Diffusion folder. Files from before the options existed lack `steps_offset: 1` and
 * `clip_sample: false`; like diffusers' `StableDiffusionPipeline`, this puts both right whatever the file says, where
 * the class has the option.
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
