import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { Command } from 'commander';
import { parseAlignPropConfig } from '@alignprop/trainer';
import { defineCommand } from './generate.js';
import { nextCommands } from './next-commands.js';

const config = parseAlignPropConfig({
  output_dir: 'my run',
  num_epochs: 20,
  sample_num_steps: 10,
  truncated_rand_backprop_minmax: [0, 10],
  sample_guidance_scale: 4,
  guidance_interval: [0.2, 0.8],
  sample_eta: 0.5,
  negative_prompts: 'blurry',
  clip_skip: 1,
  long_prompts: true,
  height: 64,
});

/** The words that a shell passes on. */
const words = (command: string): string[] =>
  JSON.parse(
    spawnSync('sh', {
      input: `set -- ${command}\nexec "${process.execPath}" -p 'JSON.stringify(process.argv.slice(1))' -- "$@"`,
      encoding: 'utf8',
    }).stdout,
  );

describe('nextCommands', () => {
  const adapter = 'my run/pytorch_lora_weights.safetensors';
  const options = { model: 'org/name', revision: 'abc', reward: ['aesthetic'] };
  const commands = nextCommands({ config, adapter, prompt: 'red apple', options, images: 'my run/before-after.png' });

  it('look at the images, draw with the settings of the training, train on, and report', () => {
    expect(commands).toEqual([
      expect.stringMatching(/^\S+ 'my run\/before-after\.png'$/),
      `alignprop generate 'red apple' --lora 'my run/pytorch_lora_weights.safetensors' --model org/name ` +
        '--revision abc --steps 10 --guidance-scale 4 --guidance-interval 0.2,0.8 --eta 0.5 ' +
        '--negative-prompt blurry --clip-skip 1 ' +
        '--long-prompts --height 64',
      `alignprop resume 'my run' --num-epochs 40`,
      `alignprop report 'my run'`,
    ]);
  });

  it('draw with the scheduler of the run, and the adapter that it froze', () => {
    const few = parseAlignPropConfig({ scheduler: 'lcm', sample_num_steps: 4, estimator: 'full' });
    const frozen = { lora: ['lcm.safetensors'], loraFreeze: true };
    const draw = (modelScheduler?: string) =>
      nextCommands({ config: few, adapter: 'a', prompt: 'crab', options: frozen, modelScheduler })[0];
    expect(draw()).toMatch(/^alignprop generate crab --lora lcm.safetensors --lora a --scheduler lcm --steps 4 /);
    expect(draw('lcm')).toMatch(/--lora a --steps 4 /);
  });

  it('give generate options that it has', () => {
    const command = new Command();
    defineCommand(command);
    const known = command.options.map(({ long }) => long);
    for (const [flag] of commands[1]!.matchAll(/--[a-z-]+/g)) expect(known).toContain(flag);
  });

  it.each(['-a crab', '--help', '', "$HOME's `crab`!\n"])('draw the prompt %j and not another', async (prompt) => {
    const dashed = parseAlignPropConfig({ ...config, output_dir: '-o', negative_prompts: '-x' });
    const [draw, resume] = nextCommands({ config: dashed, adapter: '-a', prompt });
    const command = new Command().exitOverride();
    defineCommand(command);
    command.action(() => {});
    await command.parseAsync(words(draw!).slice(2), { from: 'user' });
    expect([...command.args, ...((command.opts().prompt as string[] | undefined) ?? [])]).toEqual([prompt]);
    expect(command.opts()).toMatchObject({ negativePrompt: '-x', lora: [{ source: '-a' }] });
    expect(words(resume!)).toEqual(['alignprop', 'resume', './-o', '--num-epochs', '40']);
  });

  it('leave out what a run does not have: images, an adapter, a model of its own', () => {
    expect(nextCommands({ config, prompt: 'crab' })).toEqual([
      `alignprop resume 'my run' --num-epochs 40`,
      `alignprop report 'my run'`,
    ]);
    expect(nextCommands({ config, adapter: 'a', prompt: 'crab' })[0]).toMatch(
      /^alignprop generate crab --lora a --steps/,
    );
  });
});
