import { describe, expect, it } from 'vitest';
import { asTyped, canonicalFlags, sharedOptions } from './flags.js';

describe('canonicalFlags', () => {
  it.each([
    ['--num-epochs', '--num-epochs'],
    ['--num_epochs', '--num-epochs'],
    ['--num_epochs=3', '--num-epochs=3'],
    ['--no_allow_tf32', '--no-allow-tf32'],
    ['--alignprop_config.truncated_rand_backprop_minmax=(0,50)', '--truncated-rand-backprop-minmax=(0,50)'],
    ['--alignprop-config.num-epochs', '--num-epochs'],
    ['--output_dir=my_run', '--output-dir=my_run'],
    ['my_prompt', 'my_prompt'],
    ['-o', '-o'],
    ['-1', '-1'],
  ])('rewrites %s to %s', (written, canonical) => expect(canonicalFlags([written]).args).toEqual([canonical]));

  it('leaves arguments after -- as they are', () => {
    const { args } = canonicalFlags(['--num_images', '2', '--', '--a_b']);
    expect(args).toEqual(['--num-images', '2', '--', '--a_b']);
  });

  it.each(sharedOptions)('gives %s and %s the name that the command has', (ofGenerate, ofTrain) => {
    for (const name of [ofGenerate, ofTrain]) {
      expect(canonicalFlags(['generate', `${name}=3`]).args).toEqual(['generate', `${ofGenerate}=3`]);
      expect(canonicalFlags(['train', name, '3']).args).toEqual(['train', ofTrain, '3']);
      expect(canonicalFlags(['resume', 'out', name]).args).toEqual(['resume', 'out', ofTrain]);
      expect(canonicalFlags(['score', name]).args).toEqual(['score', name]);
    }
  });
});

describe('asTyped', () => {
  it('names flags as they were typed', () => {
    const { typed } = canonicalFlags(['train', '--num_epochs=3', '--steps', '4', '--seed', '1']);
    expect(asTyped('--num-epochs, --sample-num-steps and --seed', typed)).toBe('--num_epochs, --steps and --seed');
  });
});
