import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { captureOutput } from '../../../../fixtures/capture-output.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { run } from '../program.js';
import { addTrainingOptions } from '../commands/train.js';
import { checkCombinations, combinations } from './combinations.js';
import { applyManifest } from './run-manifest.js';

const printed = captureOutput();
const folder = temporaryFolder();
const file = join(folder, 'config.yaml');

/** Command lines of `train` with the option that has no effect, and the same options in a configuration file. */
const trainings: readonly (readonly [option: string, flags: string, config: object, problem: RegExp])[] = [
  ['lora-file', '--lora-file a', { lora_file: 'a' }, /without --lora\. Give --lora, or leave it out/],
  ['lora-freeze', '--lora-freeze', { lora_freeze: true }, /without --lora\./],
  ['lora-scale', '--lora a --lora-scale 2', { lora: 'a', lora_scale: 2 }, /without --lora-freeze\./],
  ['revision', '--revision v1', { revision: 'v1' }, /without --model\./],
  ['variant', '--variant fp16', { variant: 'fp16' }, /without --model\./],
  ['model-config', '--model-config a', { model_config: 'a' }, /without --model\./],
  ['prediction-type', '--prediction-type epsilon', { prediction_type: 'epsilon' }, /without --model\./],
  ['prompt-column', '--prompt-column a', { prompt_column: 'a' }, /without --prompts\./],
  ['negative-column', '--negative-column a', { negative_column: 'a' }, /without --prompts\./],
  ['weight-column', '--weight-column a', { weight_column: 'a' }, /without --prompts\./],
  ['eval-freq', '--eval-freq 2', { eval_freq: 2 }, /without --eval-prompts\./],
  ['eval-reward', '--eval-reward aesthetic', { eval_reward: 'aesthetic' }, /without --eval-prompts\./],
  ['eval-images-per-prompt', '--eval-images-per-prompt 2', { eval_images_per_prompt: 2 }, /without --eval-prompts\./],
  ['eval-num-steps', '--eval-num-steps 2', { eval_num_steps: 2 }, /without --eval-prompts\./],
  ['eval-eta', '--eval-eta 1', { eval_eta: 1 }, /without --eval-prompts\./],
  ['eval-guidance-scale', '--eval-guidance-scale 2', { eval_guidance_scale: 2 }, /without --eval-prompts\./],
  ['eval-negative-prompts', '--eval-negative-prompts a', { eval_negative_prompts: 'a' }, /without --eval-prompts\./],
  ['eval-height', '--eval-height 64', { eval_height: 64 }, /without --eval-prompts\./],
  ['eval-width', '--eval-width 64', { eval_width: 64 }, /without --eval-prompts\./],
  ['eval-seed', '--eval-seed 2', { eval_seed: 2 }, /without --eval-prompts\./],
  ['caption-column', '--caption-column a', { caption_column: 'a' }, /without --data-dir\./],
  ['data-dir', '--data-dir a', { data_dir: 'a' }, /without --data-weight above 0 or --estimator-images dataset\./],
  ['data-dir', '--data-dir a --data-weight 0', { data_dir: 'a', data_weight: 0 }, /without --data-weight above 0/],
  ['prior-images', '--prior-images 2', { prior_images: 2 }, /without --data-weight above 0\./],
  ['data-batch-size', '--data-batch-size 2', { data_batch_size: 2 }, /without --data-weight above 0\./],
  [
    'data-caption-dropout',
    '--data-caption-dropout 0.1',
    { data_caption_dropout: 0.1 },
    /without --data-weight above 0\./,
  ],
  [
    'estimator-images',
    '--estimator direct-align --estimator-images dataset',
    { estimator: 'direct-align', estimator_images: 'dataset' },
    /without --data-dir, whose pictures it starts from\. Give --data-dir/,
  ],
  [
    'prompts',
    '--estimator-images dataset --data-dir a --prompts b',
    { estimator_images: 'dataset', data_dir: 'a', prompts: 'b' },
    /with --estimator-images dataset, whose captions are the prompts\./,
  ],
  [
    'prompt',
    '--estimator-images dataset --data-dir a --prompt b',
    { estimator_images: 'dataset', data_dir: 'a', prompt: 'b' },
    /with --estimator-images dataset, whose captions are the prompts\./,
  ],
  [
    'prior-images',
    '--data-weight 1 --data-dir a --prior-images 2',
    { data_weight: 1, data_dir: 'a', prior_images: 2 },
    /with --data-dir, whose pictures are trained on\. Leave one/,
  ],
  ['force', '--force reward', { force: ['reward'] }, /without --resume-from\./],
  ['device', '--engine tfjs --device cuda', { engine: 'tfjs', device: 'cuda' }, /with --engine tfjs\. Leave one/],
  ['threads', '--engine tfjs --threads 2', { engine: 'tfjs', threads: 2 }, /with --engine tfjs\./],
  ['max-memory', '--engine tfjs --max-memory 8GB', { engine: 'tfjs', max_memory: '8GB' }, /with --engine tfjs\./],
  ['threads', '--backend cpu --threads 2', { backend: 'cpu', threads: 2 }, /with --backend, which selects tfjs/],
  ['max-memory', '--backend cpu --max-memory 1GB', { backend: 'cpu', max_memory: '1GB' }, /with --backend/],
  ['backend', '--engine onnxruntime --backend cpu', { engine: 'onnxruntime', backend: 'cpu' }, /--engine onnxruntime/],
  ['backend', '--device cuda --backend cpu', { device: 'cuda', backend: 'cpu' }, /with --device, which selects onnx/],
  ['lora-rank', '--no-use-lora --lora-rank 8', { use_lora: false, lora_rank: 8 }, /with --no-use-lora\./],
  ['lora-alpha', '--no-use-lora --lora-alpha 8', { use_lora: 'no', lora_alpha: 8 }, /with --no-use-lora\./],
  [
    'lora-target-modules',
    '--use-lora false --lora-target-modules to_q',
    { use_lora: false, lora_target_modules: ['to_q'] },
    /with --no-use-lora\./,
  ],
  [
    'lora-init',
    '--no-use-lora --lora-init kaiming-uniform',
    { use_lora: false, lora_init: 'kaiming-uniform' },
    /with --no-use-lora\./,
  ],
  [
    'reward-decoder',
    '--algorithm ddpo --reward-decoder a',
    { algorithm: 'ddpo', reward_decoder: 'a' },
    /with --algorithm ddpo\./,
  ],
  ['lora', '--no-use-lora --lora a', { use_lora: false, lora: 'a' }, /with --no-use-lora\./],
  [
    'truncated-backprop-timestep',
    '--truncated-backprop-timestep 8',
    { truncated_backprop_timestep: 8 },
    /with --truncated-backprop-rand, which is the default\./,
  ],
  [
    'truncated-rand-backprop-minmax',
    '--no-truncated-backprop-rand --truncated-rand-backprop-minmax 0 20',
    { truncated_backprop_rand: false, truncated_rand_backprop_minmax: [0, 20] },
    /with --no-truncated-backprop-rand\./,
  ],
];

const others: readonly (readonly [option: string, line: string, problem: RegExp])[] = [
  ['lora-scale', 'generate crab --lora-scale 2', /without --lora\./],
  ['lora-scale', 'generate crab --lora a:1 --lora-scale 2', /no effect: every adapter of --lora has a weight\./],
  ['lora-anneal', 'generate crab --lora-anneal 1', /without --lora\./],
  ['strength', 'generate crab --strength 0.5', /without --image\./],
  ['prompt-column', 'generate crab --prompt-column a', /without --prompts\./],
  ['mixed-precision', 'generate crab --mixed-precision fp16 --device cpu', /got fp16 for cpu, expected no there/],
  ['pretrained-revision', 'train --pretrained-revision v1', /without --model\./],
  ['mix-coefficient', 'export a -o b --mix-coefficient 0.3', /without --mix\./],
  ['mix-mode', 'export a -o b --mix-mode factor', /without --mix\./],
  ['device', 'score a.png --engine tfjs --device cuda', /with --engine tfjs\./],
  ['overwrite-output-dir', 'train --output-dir a --resume-from a --overwrite-output-dir', /--resume-from of the same/],
];

describe('combinations', () => {
  it.each(trainings)('refuse %s among the flags `%s`', async (option, flags, _, problem) => {
    expect(await run(['train', ...flags.split(' ')])).toBe(2);
    expect(printed.stderr).toMatch(new RegExp(`^error: --${option}: has no effect `));
    expect(printed.stderr).toMatch(problem);
  });

  it.each(trainings)(
    'refuse %s in a configuration file with the options of `%s`',
    async (option, _, config, problem) => {
      const text = stringify(config);
      writeFileSync(file, text);
      const name = option.replaceAll('-', '_');
      const line = text.split('\n').findIndex((one) => one.startsWith(`${name}:`)) + 1;
      expect(await run(['train', '--config', file])).toBe(2);
      expect(printed.stderr).toMatch(new RegExp(`^error: ${name}: has no effect .*\\(line ${line} of '`));
      expect(printed.stderr).toMatch(problem);
    },
  );

  it.each(others)('refuse %s in `%s`', async (option, line, problem) => {
    expect(await run(line.split(' '))).toBe(2);
    expect(printed.stderr).toMatch(new RegExp(`^error: --${option}: `));
    expect(printed.stderr).toMatch(problem);
  });

  it.each(['--backend tensorflow', '--engine tfjs --backend tensorflow'])('accept threads with %s', async (flags) => {
    const command = `score missing.png --reward jpeg-compressibility --threads 2 ${flags}`;
    expect(await run(command.split(' '))).not.toBe(0);
    expect(printed.stderr).toMatch(/missing\.png/);
  });

  it('refuse a flag that has no effect beside an option of the file', async () => {
    writeFileSync(file, 'engine: tfjs\n');
    expect(await run(['train', '--config', file, '--threads', '2'])).toBe(2);
    expect(printed.stderr).toMatch(/^error: --threads: has no effect with --engine tfjs\./);
  });

  it('refuse and name what has no effect beside options that only the run has', async () => {
    const out = join(folder, 'run');
    mkdirSync(out, { recursive: true });
    const config = { truncated_backprop_rand: true, truncated_rand_backprop_minmax: [0, 9], num_epochs: 3 };
    const manifest = { version: 1, algorithm: 'alignprop', kind: 'alignprop', config, options: { engine: 'tfjs' } };
    writeFileSync(join(out, 'run.json'), JSON.stringify(manifest));
    expect(await run(['resume', out, '--threads', '2'])).toBe(2);
    expect(printed.stderr).toMatch(/^error: --threads: has no effect with --engine tfjs\./);
    expect(await run(['resume', `${out}/`, '--overwrite-output-dir'])).toBe(2);
    expect(printed.stderr).toMatch(/^error: --overwrite-output-dir: has no effect with --resume-from of the same/m);
    const command = new Command('train');
    const fields = addTrainingOptions(command);
    const flags = ['--no-truncated-backprop-rand', '--truncated-backprop-timestep', '2'];
    command.parse(flags, { from: 'user' });
    const resumed = await applyManifest(command, fields, out);
    expect(checkCombinations(command, new Map(), resumed!.options)).toEqual([
      'truncated_rand_backprop_minmax of the run has no effect with --no-truncated-backprop-rand any more.',
    ]);
    const same = new Command('train');
    const unchanged = await applyManifest(same, addTrainingOptions(same), out);
    expect(checkCombinations(same, new Map(), unchanged!.options)).toEqual([]);
  });

  it('accept the defaults in a file, which a run writes beside what it was given', async () => {
    const defaults = { truncated_backprop_rand: false, truncated_rand_backprop_minmax: [0, 50], eval_freq: null };
    writeFileSync(file, stringify({ ...defaults, use_lora: false, lora_rank: 4, num_epochs: 0 }));
    expect(await run(['train', '--config', file])).toBe(2);
    expect(printed.stderr).toMatch(/num_epochs: /);
    expect(printed.stderr).not.toContain('has no effect');
  });

  it('are all tried here', () => {
    const tried = [...trainings, ...others].map(([option]) => option);
    expect([...new Set(combinations.map(({ option }) => option))].sort()).toEqual([...new Set(tried)].sort());
  });
});
