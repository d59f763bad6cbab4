import { schedulerFor, type Scheduler, type SchedulerConfig } from '@alignprop/diffusion';

/** The schedulers that a chain can be trained through, of which each step depends on the latents before it alone. */
export const trainableSchedulers = ['ddim', 'ddpm', 'euler', 'euler-ancestral', 'lcm', 'tcd', 'config'] as const;

/** The class of a scheduler in diffusers. */
export const className = ({ config }: Scheduler): string => config._class_name as string;

/** The scheduler of a configuration, from that of the model. */
export const namedScheduler = (name: string, own: Scheduler): Scheduler =>
  name === 'config' ? own : schedulerFor(name, own.config as SchedulerConfig);
