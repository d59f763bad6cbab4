import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAlignPropConfig, type RunManifest } from '@alignprop/trainer';

/** Writes the folder of a run that has ended, with contents that stand for weights and pictures. */
export function createMockRun(folder: string, options: Readonly<Record<string, unknown>> = {}) {
  const config = parseAlignPropConfig({
    ...{ sample_num_steps: 20, truncated_rand_backprop_minmax: [0, 20], output_dir: folder },
  });
  const terms = [{ name: 'jpeg-compressibility' }];
  const manifest: RunManifest = {
    ...{ version: 1, algorithm: 'alignprop', kind: 'alignprop', config, options },
    identity: { reward: { name: 'jpeg-compressibility', sha256: '0', terms } },
  };
  const lines = (...records: readonly object[]) => records.map((record) => `${JSON.stringify(record)}\n`).join('');
  const files = {
    'run.json': JSON.stringify(manifest),
    'config.json': JSON.stringify(config),
    'metrics.jsonl': lines(
      ...[
        { epoch: 0, global_step: 0, reward_mean: 1 },
        { epoch: 1, global_step: 1, reward_mean: 2.5 },
      ],
    ),
    'evaluations.jsonl': lines(
      { global_step: 0, eval_reward_mean: 1, eval_best_step: 0 },
      { global_step: 1, eval_reward_mean: 3, eval_best_step: 1 },
      { global_step: 2, eval_reward_mean: 2, eval_best_step: 1 },
    ),
    'pytorch_lora_weights.safetensors': 'the last weights',
    'best/pytorch_lora_weights.safetensors': 'the best weights',
    'checkpoints/checkpoint_2/state.json': '{}',
    ...{ 'samples/step_000000.png': 'a', 'samples/step_000001.png': 'b', 'samples/step_000002.png': 'c' },
  };
  for (const name of ['best', 'checkpoints/checkpoint_2', 'samples'])
    mkdirSync(join(folder, name), { recursive: true });
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
  return { manifest };
}
