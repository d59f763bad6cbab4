import type { Variable } from '@tensorflow/tfjs-core';
import type { AlignPropConfig } from '../config/config.js';
import type { Collective } from './collective.js';
import { exchange, shared } from './exchange.js';
import { broadcastVariables } from './tensors.js';

/**
 * Starts a run on all ranks: checks that their configurations agree and copies the weights of rank 0 to the others.
 * @throws on all ranks, if their configurations differ or they resumed from different checkpoints
 */
export async function joinRanks(
  collective: Collective,
  config: Readonly<Record<string, unknown>>,
  globalStep: number,
  variables: Readonly<Record<string, Variable>>,
): Promise<void> {
  const all = await exchange(collective, 'the start', { ...config, 'steps taken': globalStep } as Record<
    string,
    unknown
  >);
  const [first, ...others] = all.map((config) =>
    Object.fromEntries(Object.entries(config).map(([key, value]) => [key, JSON.stringify(value)])),
  );
  for (const [i, other] of others.entries()) {
    const key = Object.keys(first!).find((name) => first![name] !== other[name]);
    if (key)
      throw shared(
        new Error(
          `AlignPropTrainer: ${key} got ${first![key]} on rank 0 and ${other[key]} on rank ${i + 1}, ` +
            'expected the same on all. Give all processes the same options and files.',
        ),
      );
  }
  await broadcastVariables(collective, variables);
}

/** Describes how many images an optimizer step takes. */
export const describeRanks = (
  { size }: Collective,
  {
    train_batch_size: batch,
    train_gradient_accumulation_steps: rounds,
  }: Pick<AlignPropConfig, 'train_batch_size' | 'train_gradient_accumulation_steps'>,
): string =>
  `${size} processes: ${size} × ${batch}${rounds > 1 ? ` × ${rounds} micro-batches` : ''}` +
  ` = ${size * batch * rounds} images a step.`;
