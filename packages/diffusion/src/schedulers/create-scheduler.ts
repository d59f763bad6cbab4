import { excerptJson, table } from '@alignprop/autograd-ext/outside';
import { DDIMScheduler } from './ddim.js';
import { DDPMScheduler } from './ddpm.js';
import { DEISMultistepScheduler } from './deis-multistep.js';
import { DPMSolverMultistepScheduler } from './dpm-solver-multistep.js';
import { DPMSolverSinglestepScheduler } from './dpm-solver-singlestep.js';
import { EulerAncestralDiscreteScheduler } from './euler-ancestral-discrete.js';
import { EulerDiscreteScheduler } from './euler-discrete.js';
import { HeunDiscreteScheduler } from './heun-discrete.js';
import { KDPM2AncestralDiscreteScheduler } from './k-dpm-2-ancestral-discrete.js';
import { KDPM2DiscreteScheduler } from './k-dpm-2-discrete.js';
import { LCMScheduler } from './lcm.js';
import { LMSDiscreteScheduler } from './lms-discrete.js';
import { PNDMScheduler } from './pndm.js';
import { explicitFields } from './scheduler-config.js';
import type { Scheduler, SchedulerConfig } from './scheduler.js';
import type { SchedulerClass } from './scheduler-class.js';
import { TCDScheduler } from './tcd.js';
import { UniPCMultistepScheduler } from './uni-pc-multistep.js';
import { unusableScheduler } from './unusable-scheduler.js';

/**
 * Every scheduler under diffusers' class name. A new scheduler is one file, one entry here and one in
 * `schedulerNames`; contract.test.ts runs the contract test on each entry.
 */
export const schedulers = {
  DDIMScheduler,
  DDPMScheduler,
  DEISMultistepScheduler,
  DPMSolverMultistepScheduler,
  DPMSolverSinglestepScheduler,
  EulerAncestralDiscreteScheduler,
  EulerDiscreteScheduler,
  HeunDiscreteScheduler,
  KDPM2AncestralDiscreteScheduler,
  KDPM2DiscreteScheduler,
  LCMScheduler,
  LMSDiscreteScheduler,
  PNDMScheduler,
  TCDScheduler,
  UniPCMultistepScheduler,
} satisfies Readonly<Record<string, SchedulerClass<object>>>;

type ClassName = keyof typeof schedulers;

/** A short name's class, and the options that it stands for. */
interface NamedScheduler {
  readonly class: ClassName;
  readonly options?: SchedulerConfig;
}

const multistep = { algorithm_type: 'dpmsolver++', solver_order: 2 };
const stochastic = { ...multistep, algorithm_type: 'sde-dpmsolver++' };
const karras = { use_karras_sigmas: true, use_exponential_sigmas: false, use_beta_sigmas: false };

const namedSchedulers = table<NamedScheduler>({
  ddim: { class: 'DDIMScheduler' },
  ddpm: { class: 'DDPMScheduler' },
  pndm: { class: 'PNDMScheduler' },
  euler: { class: 'EulerDiscreteScheduler' },
  'euler-ancestral': { class: 'EulerAncestralDiscreteScheduler' },
  heun: { class: 'HeunDiscreteScheduler' },
  lms: { class: 'LMSDiscreteScheduler' },
  dpm2: { class: 'KDPM2DiscreteScheduler' },
  'dpm2-ancestral': { class: 'KDPM2AncestralDiscreteScheduler' },
  'dpm++-2m': { class: 'DPMSolverMultistepScheduler', options: multistep },
  'dpm++-2m-karras': { class: 'DPMSolverMultistepScheduler', options: { ...multistep, ...karras } },
  'dpm++-2m-sde': { class: 'DPMSolverMultistepScheduler', options: stochastic },
  'dpm++-2m-sde-karras': { class: 'DPMSolverMultistepScheduler', options: { ...stochastic, ...karras } },
  'dpm++-2s': { class: 'DPMSolverSinglestepScheduler', options: multistep },
  unipc: { class: 'UniPCMultistepScheduler' },
  deis: { class: 'DEISMultistepScheduler' },
  lcm: { class: 'LCMScheduler' },
  tcd: { class: 'TCDScheduler' },
});

/** The short names that `schedulerFor` takes. */
export const schedulerNames: readonly string[] = Object.keys(namedSchedulers);

/** Whether `schedulerFor` takes a name: one of `schedulerNames`, or a supported class of diffusers. */
export const isSchedulerName = (name: string): boolean => isClassName(name) || Object.hasOwn(namedSchedulers, name);

/**
 * Creates a scheduler by name with the noise schedule of another one; see `SchedulerClass.fromConfig`.
 * @param name one of `schedulerNames`, or a class of diffusers such as `EulerDiscreteScheduler`
 * @throws if there is no such scheduler, or the class does not support an option
 */
export function schedulerFor(name: string, config: SchedulerConfig): Scheduler {
  if (isClassName(name)) return schedulers[name].fromConfig(config);
  if (!isSchedulerName(name)) {
    throw new Error(
      `schedulerFor: name got ${excerptJson(name)}, expected one of ${schedulerNames.join(', ')}, ` +
        `or a class: ${Object.keys(schedulers).join(', ')}.`,
    );
  }
  const named = namedSchedulers[name]!;
  return schedulers[named.class].fromConfig({ ...explicitFields(config), ...named.options });
}

/**
 * Creates the scheduler of a `scheduler_config.json`.
 * @param name the class; the one that the config names by default
 * @throws if the class is missing or unknown, or does not support an option
 */
export function createScheduler(config: SchedulerConfig, name = config._class_name): Scheduler {
  if (isClassName(name)) return schedulers[name].fromConfig(config);
  throw new Error(
    `createScheduler: _class_name got ${excerptJson(name)}, ` +
      `expected one of ${Object.keys(schedulers).join(', ')}. ` +
      'Most Stable Diffusion files also work with DDIMScheduler.fromConfig(config).',
  );
}

/**
 * Creates the scheduler of a model's folder. Where the class or an option is not supported, the scheduler holds the
 * config and throws when it is used, so that the model still loads for use with another one.
 * @param name the class that `model_index.json` names, which is the one that diffusers creates, whatever class the
 *   config names; that of the config by default
 */
export function folderScheduler(config: SchedulerConfig, name = config._class_name): Scheduler {
  try {
    return createScheduler(config, name);
  } catch (error) {
    return unusableScheduler({ ...explicitFields(config), _class_name: name }, error as Error);
  }
}

/**
 * Corrects a scheduler as diffusers' `StableDiffusionPipeline` does when it is created, for files that are older than
 * these options: `steps_offset` becomes 1 where the config has another one, and `clip_sample` false where it is true.
 */
export function correctedScheduler(scheduler: Scheduler): Scheduler {
  const { steps_offset = 1, clip_sample } = scheduler.config;
  const changes = {
    ...(steps_offset !== 1 && { steps_offset: 1 }),
    ...(clip_sample === true && { clip_sample: false }),
  };
  return Object.keys(changes).length === 0 ? scheduler : scheduler.withOptions(changes);
}

const isClassName = (name: unknown): name is ClassName => typeof name === 'string' && Object.hasOwn(schedulers, name);
