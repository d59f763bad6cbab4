import * as tf from '@tensorflow/tfjs-core';
import * as rewards from '@alignprop/rewards';
import type { Failure } from './messages.js';

/** The name of the text in stack traces. */
const file = 'reward.js';

/**
 * Evaluates the text of a reward: an expression whose value is a reward function. It sees `tf`, the ops of tfjs, and
 * `rewards`, the package @alignprop/rewards.
 * @throws what the text throws, and if its value is no function
 */
export function evaluateReward(text: string): rewards.RewardFunction {
  const evaluate = globalThis.eval(`(tf, rewards) => (${expression(text)}\n)\n//# sourceURL=${file}`) as (
    ...scope: readonly unknown[]
  ) => unknown;
  const reward = evaluate(tf, rewards);
  if (typeof reward === 'function') return reward as rewards.RewardFunction;
  throw new Error(`The reward is a value of the type '${typeof reward}', expected a function: (images) => …`);
}

/** Describes an error, with the line of the reward's text if it comes from there. */
export async function describeFailure(error: unknown, text: string | undefined): Promise<Failure> {
  const { message } = error as Error;
  const lines = causes(error).map(({ stack = '' }) => new RegExp(`${file}:(\\d+)`).exec(stack)?.[1]);
  const line = lines.find((found) => found !== undefined);
  if (line !== undefined) return { message, line: Number(line) };
  return { message, ...(text !== undefined && error instanceof SyntaxError && { line: await faultyLine(text) }) };
}

/** An error and those that caused it, the innermost first. */
const causes = (error: unknown): Error[] => (error instanceof Error ? [...causes(error.cause), error] : []);

/** The text without what may follow an expression in a program. */
const expression = (text: string): string => text.replace(/[;\s]+$/, '');

/** The line of a syntax error: browsers tell it of the program of a worker alone. */
async function faultyLine(text: string): Promise<number | undefined> {
  const address = URL.createObjectURL(new Blob([`(${expression(text)}\n)`], { type: 'text/javascript' }));
  const worker = new Worker(address);
  try {
    const line = await new Promise<number>((resolve) => (worker.onerror = ({ lineno }) => resolve(lineno)));
    return Math.min(line, text.split('\n').length);
  } finally {
    worker.terminate();
    URL.revokeObjectURL(address);
  }
}
