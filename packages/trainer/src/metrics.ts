/** What one optimizer step reports. */
export interface StepMetrics {
  /** An epoch is one optimizer step, as in TRL; counts from 0. */
  readonly epoch: number;
  /** Optimizer steps taken before this one, earlier runs that were resumed included. */
  readonly globalStep: number;
  /** Over all images of the step. */
  readonly rewardMean: number;
  /** As TRL: the population's standard deviation (ddof 0) of each micro-batch, averaged over them; 0 for batches of one image. */
  readonly rewardStd: number;
  /** The mean over all images of each term that the reward names, such as those of a weighted sum. */
  readonly rewardTerms: Readonly<Record<string, number>>;
  /** -rewardMean. TRL reports 10 - rewardMean; a constant has no gradient, and the reward's own scale is easier to read. */
  readonly loss: number;
  /** The L2 norm of all gradients together, before clipping. */
  readonly gradNorm: number;
  /** What the step moved the weights with, after the schedule. */
  readonly learningRate: number;
  readonly seconds: number;
}

/** A line of `metrics.jsonl`, in TRL's spelling; a term of the reward is `reward/<term>`. */
export function metricsRecord({ epoch, globalStep, rewardMean, rewardStd, rewardTerms, loss, gradNorm, learningRate, seconds }: StepMetrics): Record<string, number> {
  return { epoch, global_step: globalStep, reward_mean: rewardMean, reward_std: rewardStd, ...termRecord(rewardTerms), loss, grad_norm: gradNorm, learning_rate: learningRate, seconds };
}

const termRecord = (terms: StepMetrics['rewardTerms']) => Object.fromEntries(Object.entries(terms).map(([name, mean]) => [`reward/${name}`, mean]));

/** Mean and standard deviation (ddof 0). */
export function meanAndStd(values: ArrayLike<number>): { mean: number; std: number } {
  const list = Array.from(values);
  const mean = list.reduce((sum, value) => sum + value, 0) / list.length;
  return { mean, std: Math.sqrt(list.reduce((sum, value) => sum + (value - mean) ** 2, 0) / list.length) };
}
