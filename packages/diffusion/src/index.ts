export { createScheduler, createStableDiffusionScheduler, schedulerClasses } from './schedulers/create-scheduler.js';
export { DDIMScheduler, type DDIMConfig, type DDIMStepOptions } from './schedulers/ddim.js';
export { PNDMScheduler, type PNDMConfig } from './schedulers/pndm.js';
export type { ModelCall, Scheduler, SchedulerConfig, Step, StepCoefficients, StepOptions, StepOutput } from './schedulers/scheduler.js';
