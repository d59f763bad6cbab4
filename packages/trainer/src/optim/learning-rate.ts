/** The schedules, by their names in diffusers' `get_scheduler`. */
export const learningRateSchedules = ['constant', 'constant_with_warmup', 'linear', 'cosine'] as const;

export type LearningRateSchedule = (typeof learningRateSchedules)[number];

export interface LearningRateOptions {
  /** The peak, which the schedule multiplies with a factor in [0, 1]. */
  learningRate: number;
  schedule?: LearningRateSchedule;
  /**
   * Optimizer steps over which the rate rises from 0; the first step of a warm-up therefore moves nothing. Ignored by
   * `constant`.
   */
  warmupSteps?: number;
  /** Optimizer steps after which `linear` and `cosine` have fallen to 0. */
  totalSteps: number;
}

/** The fields of a trainer's configuration that set the learning rate. */
interface LearningRateConfig {
  readonly train_learning_rate: number;
  readonly train_lr_scheduler: LearningRateSchedule;
  readonly train_lr_warmup_steps: number;
}

/** The learning rate of a run of `totalSteps` optimizer steps; see `learningRate`. */
export const configuredLearningRate = (config: LearningRateConfig, totalSteps: number): ((step: number) => number) =>
  learningRate({
    learningRate: config.train_learning_rate,
    schedule: config.train_lr_scheduler,
    warmupSteps: config.train_lr_warmup_steps,
    totalSteps,
  });

/**
 * The learning rate of every optimizer step, counted from 0, by the formulas of diffusers' `get_scheduler`
 * (optimization.py): with w warm-up steps and T steps in all, the peak times step / w where step < w, and after that
 * times
 *
 *   constant: 1,   linear: max(0, T - step) / max(1, T - w),   cosine: (1 + cos(π (step - w) / max(1, T - w))) / 2.
 *
 * A function of the step alone: a resumed run needs nothing but the step count of its checkpoint.
 */
export function learningRate({
  learningRate: peak,
  schedule = 'constant',
  warmupSteps = 0,
  totalSteps,
}: LearningRateOptions): (step: number) => number {
  const warmup = schedule === 'constant' ? 0 : warmupSteps;
  const span = Math.max(1, totalSteps - warmup);
  const factor = { constant: one, constant_with_warmup: one, linear, cosine }[schedule];
  return (step) => peak * (step < warmup ? step / warmup : factor(step));

  function linear(step: number): number {
    return Math.max(0, totalSteps - step) / span;
  }
  function cosine(step: number): number {
    return 0.5 * (1 + Math.cos((Math.PI * (step - warmup)) / span));
  }
}

const one = (): number => 1;
