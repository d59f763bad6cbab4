import type { Scheduler, SchedulerConfig } from './scheduler.js';

/**
 * Returns a scheduler that holds the config of a file, and cannot compute: for a class or an option that is not
 * supported. A pipeline with it loads, and another scheduler can be created from its config.
 * @param reason says what is not supported; every method that computes throws it
 */
export function unusableScheduler(config: SchedulerConfig, reason: Error): Scheduler {
  const refuse = (): never => {
    throw new Error(
      `The model's scheduler cannot be used. ${reason.message} ` +
        "Or choose another one: the option `scheduler` of fromPretrained, or '--scheduler ddim' of the command.",
      { cause: reason },
    );
  };
  return {
    config,
    historyLength: 0,
    timesteps: refuse,
    lastSteps: refuse,
    initNoiseSigma: refuse,
    inputScale: refuse,
    drawsNoise: refuse,
    coefficients: refuse,
    step: refuse,
    addNoise: refuse,
    getVelocity: refuse,
    withOptions: (changes) => unusableScheduler({ ...config, ...changes }, reason),
  };
}
