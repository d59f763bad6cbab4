import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { addEngineOptions } from './engine-options.js';
import { applyConfigFile } from './config-file.js';
import { configOptions, givenFields } from './config-options.js';
import { addPromptOptions } from './prompt-options.js';
import { collectValues } from './option-parsers.js';
import { addRewardOptions } from './reward-options.js';

const folder = temporaryFolder();
const path = (name: string): string => join(folder, name);
const fields = configOptions();
const keys = fields.map(({ key }) => key);

/** Applies a file. @returns the fields that it sets, some other options, and what `applyConfigFile` returns */
async function apply(name: string, content: string | Uint8Array, ...flags: string[]) {
  writeFileSync(path(name), content);
  const command = addEngineOptions(addPromptOptions(addRewardOptions(new Command(), 'Reward')));
  command.option('--config <file>').option('--dry-run').option('--model <folder>');
  command.option('--embedding <file>', 'Texts.', collectValues);
  for (const { options } of fields) for (const option of options) command.addOption(option);
  command.parse(['--config', path(name), ...flags], { from: 'user' });
  const applied = await applyConfigFile(command, keys);
  const others = Object.entries(command.opts()).filter(([key]) => !keys.includes(key) && key !== 'config');
  return { ...applied, fields: givenFields(command, fields), others: Object.fromEntries(others) as object };
}

const json = '{"num_epochs": 3, "run_name": "ein Löwe"}';
const expected = { num_epochs: 3, run_name: 'ein Löwe' };

describe('applyConfigFile', () => {
  it.each<[what: string, name: string, content: string | Uint8Array]>([
    ['JSON in UTF-8', 'a.json', json],
    ['UTF-8 with a byte order mark', 'a.json', `\ufeff${json}`],
    ['UTF-16, little endian', 'a.json', Buffer.from(`\ufeff${json}`, 'utf16le')],
    ['UTF-16, big endian', 'a.json', Buffer.from(`\ufeff${json}`, 'utf16le').swap16()],
    ['comments and a trailing comma', 'a.json', '// mine\n{"num_epochs": 3, /* all */ "run_name": "ein Löwe",}'],
    ['comments in a file of another ending', 'a.conf', '// mine\n{"num_epochs": 3, "run_name": "ein Löwe"}'],
    ['camel case and hyphens', 'a.json', '{"numEpochs": 3, "run-name": "ein Löwe"}'],
    ['YAML', 'a.yaml', '# mine\nnum_epochs: 3\nrun_name: ein Löwe # all\n'],
    ['YAML with CRLF and a document mark', 'a.yml', '---\r\nnum_epochs: 3\r\nrun_name: "ein Löwe"\r\n'],
    ['YAML in a file of another ending', 'config', 'num_epochs: 3\nrun_name: ein Löwe'],
    ['YAML with an anchor', 'a.yaml', 'num_epochs: &n 3\nrun_name: ein Löwe\nsave_freq: *n'],
  ])('reads %s', async (_, name, content) => {
    const { fields: given, warnings } = await apply(name, content);
    expect(given).toMatchObject(expected);
    expect(warnings).toEqual([]);
  });

  it('reads texts as flags are read, and keeps lists, objects and null', async () => {
    const yaml = [
      'use_lora: yes',
      'log_with: none',
      'height: null',
      'train_learning_rate: 1e-3',
      'truncated_rand_backprop_minmax: [0, 20]',
      'backprop_kwargs: {fixed: {value: 3}}',
      'negative_prompts: "blurry, dark"',
      'mixed_precision: no',
      'max_memory: 8GB',
      'threads: 2',
      'model: null',
      'reward: [aesthetic, "jpeg-compressibility:0.5"]',
      'embedding: cat.pt:cat',
      'eval_prompts:\n  - an owl\n  - {prompt: a tram, id: 1}',
    ].join('\n');
    const { fields: given, others } = await apply('a.yaml', yaml);
    expect(given).toEqual({
      use_lora: true,
      log_with: null,
      height: null,
      train_learning_rate: 1e-3,
      truncated_rand_backprop_minmax: [0, 20],
      backprop_kwargs: { fixed: { value: 3 } },
      negative_prompts: 'blurry, dark',
      mixed_precision: 'no',
    });
    expect(others).toEqual({
      maxMemory: 8e9,
      threads: 2,
      reward: ['aesthetic', 'jpeg-compressibility:0.5'],
      embedding: ['cat.pt:cat'],
      evalPrompts: ['an owl', { prompt: 'a tram', id: 1 }],
    });
  });

  it('prefers flags, and says where the options stand that it has set', async () => {
    const { fields: given, places } = await apply('a.yaml', 'seed: 1\n\nnumEpochs: 3', '--seed', '2');
    expect(given).toEqual({ seed: 2, num_epochs: 3 });
    expect([...places]).toEqual([['num_epochs', `line 3 of '${path('a.yaml')}'`]]);
  });

  it('ignores what holds for one start, and says so', async () => {
    const { fields: given, warnings } = await apply(
      'a.json',
      '{"num_epochs": 3,\n"resume_from": "out",\n"overwrite_output_dir": true}',
    );
    expect(given).toEqual({ num_epochs: 3 });
    expect(warnings).toEqual([
      `--config: line 2 of '${path('a.json')}': resume_from is ignored, since it holds for one start. ` +
        'Give --resume-from on the command line.',
      `--config: line 3 of '${path('a.json')}': overwrite_output_dir is ignored, since it holds for one start. ` +
        'Give --overwrite-output-dir on the command line.',
    ]);
    const off = await apply('a.json', '{"resume_from": "", "overwrite_output_dir": false}');
    expect(off).toMatchObject({ fields: {}, warnings: [] });
  });

  it.each<[what: string, name: string, content: string | Uint8Array, message: RegExp]>([
    ['text that is not JSON', 'a.json', 'num_epochs: 3', /a\.json' is not JSON: line 1, column 1/],
    ['JSON with a fault', 'a.json', '{\n"seed": 1\n"num_epochs": 3}', /is not JSON: line 3, column 1: comma expected/],
    ['an empty .json', 'a.json', '', /is not JSON/],
    ['a list', 'a.json', '[1]', /is not a JSON object/],
    ['YAML with a fault', 'a.yaml', 'seed: 1\nnum_epochs: [3\n', /is not YAML: line \d/],
    [
      'a tag of another program',
      'a.yaml',
      'seed: 1\nbox: !!python/tuple [1, 2]',
      /is not YAML: line 2: Unresolved tag/,
    ],
    ['a name given twice in YAML', 'a.yaml', 'seed: 1\nseed: 2', /is not YAML: line 2: Map keys must be unique/],
    ['an empty .yaml', 'a.yaml', '# seed: 1\n', /has no options by name/],
    ['TOML', 'a.toml', 'num_epochs = 3', /has no options by name/],
    ['Latin-1', 'a.yaml', Buffer.from('run_name: Löwe', 'latin1'), /line 1 of which is not UTF-8/],
    ['a name given twice', 'a.json', '{"seed": 1,\n"seed": 2}', /line 2 of '.*': seed: given in line 1, too/],
    ['both spellings', 'a.json', '{"num_epochs": 1, "numEpochs": 2}', /numEpochs: given in line 1, too/],
    ['an unknown name', 'a.yaml', 'seed: 1\nnum_epoch: 3', /line 2 of .*num_epoch: unknown.*mean 'num_epochs'\?/],
    ['an unknown name of other options', 'a.json', '{"promts": "a"}', /Did you mean 'prompts'\?/],
    ["other programs' names", 'a.json', '{"learning_rate": 1}', /Did you mean 'train_learning_rate'\?/],
    ['a configuration in a configuration', 'a.json', '{"config": "b.json"}', /config: unknown option/],
    ['two problems', 'a.json', '{"sed": 1,\n"foo": 2}', /'seed'\?\n {2}line 2 of .*foo: unknown option\.$/],
    ['a text for a number', 'a.json', '{"num_epochs": "many"}', /num_epochs: got "many"\. Expected a number\./],
    ['a number for a text', 'a.json', '{"model": 7}', /model: got 7, expected a text\./],
    ['a list for a text', 'a.json', '{"model": ["a"]}', /model: got \["a"\], expected a text\./],
    ['an unknown engine', 'a.json', '{"engine": "tpu"}', /engine: got "tpu"\. Allowed choices are/],
    ['too few threads', 'a.json', '{"threads": 0}', /threads: got 0\. Expected an integer of at least 1/],
    ['a switch that is a text', 'a.json', '{"dry_run": "maybe"}', /dry_run: got "maybe", expected true or false\./],
    [
      'a reward that is a number',
      'a.json',
      '{"reward": [7]}',
      /reward: got \[7\], expected a text or a list of texts\./,
    ],
  ])('refuses %s', async (_, name, content, message) => {
    const error: unknown = await apply(name, content).catch((refusal: unknown) => refusal);
    expect((error as Error).message).toMatch(/^--config: /);
    expect((error as Error).message).toMatch(message);
  });
});
