import { describe, expect, it } from 'vitest';
import { canonicalFlags } from './flags.js';

const rewritten = (...args: string[]) => canonicalFlags(args).args.join(' ');

describe("the reward flags of TRL's example script", () => {
  it.each([
    [
      'train --hf_hub_aesthetic_model_id org/name --hf_hub_aesthetic_model_filename=head.pth --seed 1',
      'train --seed 1 --reward aesthetic --reward-option aesthetic.head=org/name/head.pth',
    ],
    [
      'train --hf-hub-aesthetic-model-id=org/name --reward aesthetic:2',
      'train --reward aesthetic:2 --reward-option aesthetic.head=org/name',
    ],
    [
      'train --hf_hub_aesthetic_model_filename model.pth -- x',
      'train --reward aesthetic --reward-option aesthetic.head=trl-lib/ddpo-aesthetic-predictor/model.pth -- x',
    ],
    ['train --seed 1', 'train --seed 1'],
    ['generate --hf_hub_aesthetic_model_id x', 'generate --hf-hub-aesthetic-model-id x'],
    ['train --hf_hub_aesthetic_model_id', 'train --hf-hub-aesthetic-model-id'],
  ])('reads %s', (typed, meant) => expect(rewritten(...typed.split(' '))).toBe(meant));
});
