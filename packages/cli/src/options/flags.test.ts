import { describe, expect, it } from 'vitest';
import { canonicalFlags } from './flags.js';

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
  ])('rewrites %s to %s', (written, canonical) => expect(canonicalFlags([written])).toEqual([canonical]));

  it('leaves arguments after -- as they are', () => {
    expect(canonicalFlags(['--num_images', '2', '--', '--a_b'])).toEqual(['--num-images', '2', '--', '--a_b']);
  });
});
