import type { Variable } from '@tensorflow/tfjs-core';
import type { Collective } from './collective.js';
import { exchange, shared } from './exchange.js';
import { broadcastVariables } from './tensors.js';

/**
 * Starts a run on all ranks: checks that their configurations agree and copies the weights of rank 0 to the others.
 * @param owner the name of the trainer, with which errors begin
 * @throws on all ranks, if their configurations differ or they resumed from different checkpoints
 */
export async function joinRanks(
  owner: string,
  collective: Collective,
  config: object,
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
          `${owner}: ${key} got ${first![key]} on rank 0 and ${other[key]} on rank ${i + 1}, ` +
            'expected the same on all. Give all processes the same options and files.',
        ),
      );
  }
  await broadcastVariables(collective, variables);
}

/** The options that say how many images a process takes; those of DDPO have the batches of its epochs. */
export interface BatchOptions {
  readonly train_batch_size: number;
  readonly train_gradient_accumulation_steps: number;
  readonly sample_batch_size?: number;
  readonly sample_num_batches_per_epoch?: number;
}

/** Describes how many images an optimizer step takes, or an epoch of DDPO. */
export function describeRanks({ size }: Collective, config: BatchOptions): string {
  const { sample_batch_size: sampled, sample_num_batches_per_epoch: batches = 1 } = config;
  const [batch, rounds, name, total] =
    sampled === undefined
      ? [config.train_batch_size, config.train_gradient_accumulation_steps, 'micro-batches', 'a step']
      : [sampled, batches, 'batches', 'an epoch'];
  return `${size} processes: ${size} × ${batch}${rounds > 1 ? ` × ${rounds} ${name}` : ''} = ${size * batch * rounds} images ${total}.`;
}
