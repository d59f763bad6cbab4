import { dispose, fill, mean, randomUniform, slice, tidy, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { isDifferentiable, RecordingError, vjp, type Engine } from '@alignprop/autograd-ext';
import { checkGradient } from '@alignprop/autograd-ext/testing';
import { table } from '@alignprop/autograd-ext/outside';
import type { RewardFunction } from '@alignprop/rewards';
import { detailed, outsideRun, RewardScorer, type RewardContext } from '@alignprop/rewards/interface';
import { isAsyncFunction, type UserReward } from '../options/reward-file.js';
import { errorMessage } from '../terminal/errors.js';

/** The result of one check, in a few words. */
export interface Check {
  readonly name: string;
  /** 'note': not a fault, but good to know. */
  readonly status: 'ok' | 'note' | 'failed';
  readonly detail: string;
}

interface CheckedReward {
  readonly reward: UserReward;
  readonly engine: Engine;
  /** Sizes of the images, in pixels. */
  readonly height: number;
  readonly width: number;
  /** One an image. */
  readonly prompts: readonly string[];
}

/**
 * Checks a reward on random images, one check after the other. Stops after the first if the reward returns no scores.
 * @param options `engine`: compiles the reward, to see whether it can
 */
export async function* rewardChecks(
  reward: UserReward,
  options: Omit<CheckedReward, 'reward'>,
): AsyncGenerator<Check, void, void> {
  const checked = { reward, ...options };
  const scores = await run('scores', () => checkScores(checked));
  yield scores;
  if (scores.status === 'failed') return;
  const checks = { range: checkRange, repetition: checkRepetition, batch: checkBatch };
  for (const [name, check] of Object.entries(checks)) yield run(name, () => check(checked));
  const gradient = await run('gradient', () => checkGradients(checked));
  yield gradient;
  if (gradient.status === 'ok') yield run('compilation', () => checkCompilation(checked));
  yield run('speed', () => measureSpeed(checked, gradient.status === 'ok'));
}

type Result = readonly [status: Check['status'], detail: string];
type Checker = () => Result | Promise<Result>;

async function run(name: string, check: Checker): Promise<Check> {
  try {
    const [status, detail] = await check();
    return { name, status, detail };
  } catch (error) {
    return { name, status: 'failed', detail: errorMessage(error, false) };
  }
}

type Size = Pick<CheckedReward, 'height' | 'width'>;

const randomImages = (count: number, { height, width }: Size): Tensor4D =>
  randomUniform([count, height, width, 3], 0.05, 0.95, 'float32', 1);

/** Scores images and disposes them. */
async function scoresOf(
  { reward, prompts }: Pick<CheckedReward, 'reward' | 'prompts'>,
  images: Tensor4D,
  context: RewardContext = outsideRun,
): Promise<readonly number[]> {
  const metadata = prompts.map(() => ({}));
  const { scores } = await new RewardScorer(reward)
    .score(images, prompts, metadata, context)
    .finally(() => images.dispose());
  return scores;
}

const rounded = (value: number): string => `${Number(value.toPrecision(4))}`;

async function checkScores(checked: CheckedReward): Promise<Result> {
  const scores = await scoresOf(checked, randomImages(checked.prompts.length, checked));
  const bad = scores.findIndex((score) => !Number.isFinite(score));
  if (bad >= 0) return ['failed', `the score of image ${bad} is ${scores[bad]}, expected a finite number`];
  return ['ok', `[${scores.length}]: ${scores.map(rounded).join(', ')}`];
}

async function checkRange({ height, width, reward, prompts }: CheckedReward): Promise<Result> {
  const one = { reward, prompts: prompts.slice(0, 1) };
  const [higher, wider] = [
    { height: height + 8, width },
    { height, width: width + 8 },
  ];
  const named = (size: Size) => `${size.height}×${size.width}`;
  const cases = table<() => Tensor4D>({
    black: () => fill([1, height, width, 3], 0),
    grey: () => fill([1, height, width, 3], 0.5),
    white: () => fill([1, height, width, 3], 1),
    noise: () => randomImages(1, { height, width }),
    [named(higher)]: () => randomImages(1, higher),
    [named(wider)]: () => randomImages(1, wider),
  });
  const scores: string[] = [];
  for (const [name, images] of Object.entries(cases)) {
    const [score] = await scoresOf(one, images());
    if (!Number.isFinite(score)) return ['failed', `a ${name} image scores ${score}, expected a finite number`];
    scores.push(`${name} ${rounded(score!)}`);
  }
  return ['ok', scores.join(', ')];
}

async function checkRepetition(checked: CheckedReward): Promise<Result> {
  const scoresAt = (context?: RewardContext) =>
    scoresOf(checked, randomImages(checked.prompts.length, checked), context);
  const [first, second] = [await scoresAt(), await scoresAt()];
  const index = first.findIndex((score, i) => !isNear(score, second[i]!));
  if (index >= 0)
    return [
      'failed',
      `the same image scored ${rounded(first[index]!)}, then ${rounded(second[index]!)}, expected the same`,
    ];
  const late = await scoresAt({ step: 100, epoch: 100 });
  const isScheduled = first.some((score, i) => !isNear(score, late[i]!));
  return isScheduled ? ['note', 'the same result twice; changes with context.step'] : ['ok', 'the same result twice'];
}

async function checkBatch({ reward, prompts, ...size }: CheckedReward): Promise<Result> {
  const together = await scoresOf({ reward, prompts }, randomImages(prompts.length, size));
  for (const [i, prompt] of prompts.entries()) {
    const alone = tidy(() => slice(randomImages(prompts.length, size), [i, 0, 0, 0], [1, -1, -1, -1]));
    const [score] = await scoresOf({ reward, prompts: [prompt] }, alone);
    if (!isNear(score!, together[i]!))
      return [
        'failed',
        `image ${i} scores ${rounded(together[i]!)} in a batch, ${rounded(score!)} alone, expected the same`,
      ];
  }
  return ['ok', 'each image scores the same alone as in a batch'];
}

const isNear = (one: number, other: number): boolean => Math.abs(one - other) <= 1e-4 * Math.max(1, Math.abs(one));

/** The reward as a function of images alone. */
const ofImages =
  ({ reward, prompts }: CheckedReward) =>
  (images: Tensor): Tensor =>
    detailed(reward as RewardFunction).outputs(
      images as Tensor4D,
      prompts.slice(0, images.shape[0]),
      prompts.slice(0, images.shape[0]).map(() => ({})),
      outsideRun,
    )[0];

const withoutGradient =
  "none: for 'alignprop score', --eval-reward and 'alignprop train --algorithm ddpo' only. " +
  "Without --algorithm ddpo, 'alignprop train' needs operations with a gradient";

function checkGradients(checked: CheckedReward): Result {
  if (isAsyncFunction(checked.reward) || 'parts' in checked.reward) return ['note', withoutGradient];
  const fn = ofImages(checked);
  const small = { height: Math.min(checked.height, 16), width: Math.min(checked.width, 16) };
  const images = randomImages(1, small); // sums over more pixels round too coarsely to compare
  try {
    const { isConnected, largest } = slopes(fn, images);
    if (!isConnected) return ['note', withoutGradient];
    if (!Number.isFinite(largest)) return ['failed', `a slope is ${largest}, expected finite numbers`];
    if (largest === 0) return ['failed', 'zero for random images: nothing can be learned there'];
    checkGradient(fn, [images], { entries: 8, tolerance: 2e-2, scale: 1e-6 });
    for (const level of [0, 1]) {
      const flat = fill([1, checked.height, checked.width, 3], level) as Tensor4D;
      const steepest = slopes(fn, flat).largest;
      flat.dispose();
      if (!Number.isFinite(steepest))
        return ['failed', `a slope of a ${level ? 'white' : 'black'} image is ${steepest}`];
    }
    return ['ok', `equals finite differences; largest slope ${rounded(largest)}`];
  } catch (error) {
    if (/returned a promise/.test((error as Error).message)) return ['note', withoutGradient];
    throw error;
  } finally {
    images.dispose();
  }
}

function slopes(fn: (images: Tensor) => Tensor, images: Tensor4D): { isConnected: boolean; largest: number } {
  let isConnected = false;
  const { value, inputs } = vjp(
    (_, x) => {
      const scores = fn(x!);
      isConnected = isDifferentiable(scores, x!);
      return mean(scores);
    },
    {},
    [images],
  );
  const largest = inputs[0]!.dataSync<'float32'>().reduce((most, slope) => Math.max(most, Math.abs(slope)), 0);
  dispose([value, ...inputs]);
  return { isConnected, largest };
}

async function checkCompilation(checked: CheckedReward): Promise<Result> {
  const { engine } = checked;
  if (!engine.records) return ['note', `runs on tfjs (${engine.device})`];
  const images = randomImages(1, checked);
  const fn = ofImages(checked);
  try {
    dispose([...(await engine.compile((_, x) => fn(x!))({}, images))]);
    return ['ok', `compiled by ${engine.name}`];
  } catch (error) {
    if (!(error instanceof RecordingError)) throw error;
    return ['note', `runs on tfjs: ${error.message}`];
  } finally {
    images.dispose();
  }
}

async function measureSpeed(checked: CheckedReward, hasGradient: boolean): Promise<Result> {
  const { height, width, reward, prompts } = checked;
  const images = randomImages(1, checked);
  const forward = await milliseconds(() =>
    scoresOf({ reward, prompts: prompts.slice(0, 1) }, randomImages(1, checked)),
  );
  const backward = hasGradient ? await milliseconds(() => slopes(ofImages(checked), images)) : undefined;
  images.dispose();
  const gradient = backward === undefined ? '' : `, ${backward} ms with its gradient`;
  return ['ok', `${forward} ms an image of ${height}×${width} on tfjs${gradient}`];
}

/** The shortest duration of three calls. */
async function milliseconds(fn: () => unknown): Promise<string> {
  const durations: number[] = [];
  for (let call = 0; call < 3; call++) {
    const started = performance.now();
    await fn();
    durations.push(performance.now() - started);
  }
  return Math.min(...durations).toFixed(1);
}
