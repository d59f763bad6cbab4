import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { captureOutput } from '../../../fixtures/capture-output.js';
import { temporaryFolder } from '../../../fixtures/temporary-folder.js';
import { run } from './program.js';

const printed = captureOutput();
const folder = temporaryFolder();
const path = (name: string): string => join(folder, name);

/** Names that every object of JavaScript has, and the name of its prototype. */
const inherited = ['constructor', '__proto__', 'toString', 'hasOwnProperty'];
const configs = new Map([
  ['names.yaml', (name: string) => `${name}: 1\n`],
  ['names.json', (name: string) => `{"${name}": 1}`],
  ['commented.json', (name: string) => `{"${name}": 1,}`],
  ['options.yaml', (name: string) => `reward_option:\n  ${name}:\n    quality: 5\n`],
  ['inner.json', (name: string) => `{"reward_option": {"jpeg-compressibility": {"${name}": 5}}}`],
  ['trackers.json', (name: string) => `{"tracker_kwargs": {"${name}": {}}}`],
]);

/** Every option that takes one name of several, with a name that is none of them. */
const commandLines: readonly ((name: string) => readonly string[])[] = [
  (name) => [name],
  (name) => ['help', name],
  (name) => ['train', `--${name}`],
  ...[
    ...['--reward', '--eval-reward', '--log-with', '--estimator', '--backprop-strategy', '--mixed-precision'],
    ...['--lora-kind', '--lora-init', '--train-lr-scheduler', '--on-nonfinite', '--engine', '--device', '--backend'],
  ].map((flag) => (name: string) => ['train', flag, name]),
  (name) => ['train', '--reward', 'jpeg-compressibility', '--reward-option', `${name}.quality=5`],
  (name) => ['train', '--reward', 'jpeg-compressibility', '--reward-option', `jpeg-compressibility.${name}=5`],
  (name) => ['train', '--tracker-kwargs', `{"${name}": {}}`],
  ...[...configs.keys()].map((file) => () => ['train', '--config', path(file), '--output-dir', path('out')]),
  (name) => ['train', '--prompts', path('prompts.csv'), '--prompt-column', name, '--dry-run'],
  (name) => ['generate', 'a', '--scheduler', name],
  (name) => ['generate', 'a', '--precision', name],
  (name) => ['score', 'a.png', '--reward', name],
  (name) => ['export', 'a', '--format', name],
  (name) => ['reward', name],
];

describe.each(inherited)('the name %s', (name) => {
  it('is refused by every option that takes one name of several', async () => {
    for (const [file, text] of configs) writeFileSync(path(file), text(name));
    writeFileSync(path('prompts.csv'), 'prompt,weight\na crab,1\n');
    for (const line of commandLines) {
      const args = line(name);
      const before = printed.stderr.length;
      const code = await run(args);
      const text = printed.stderr.slice(before);
      expect.soft([args, code]).toEqual([args, 2]);
      expect.soft([args, text]).toEqual([args, expect.stringMatching(/^(error|Usage): /)]);
      expect
        .soft([args, text])
        .toEqual([args, expect.not.stringMatching(/is not a function|Cannot (read|convert)|\[obj/)]);
    }
  });
});
