import { describe, expect, it } from 'vitest';
import { alignPropConfigSchema, parseAlignPropConfig, type AlignPropConfigInput } from '../config/config.js';
import { ddpoConfigSchema } from '../ddpo/ddpo-config.js';
import { createManifest, type RunIdentity, type RunManifest } from './manifest.js';
import { checkResume, resumeRules } from './resume-rules.js';

const part = (name: string, digit = '0') => ({ name, sha256: digit.repeat(64) });
const identity: RunIdentity = { model: part('sd15'), reward: part('red.mjs'), prompts: part('26 prompts') };
const manifest = (config: AlignPropConfigInput = {}, more: RunIdentity = {}) =>
  createManifest('alignprop', parseAlignPropConfig(config), { identity: { ...identity, ...more } });

/** Resumes a run with `current`. @returns the warnings, and whether evaluations stay comparable */
function resume(current: ReturnType<typeof manifest>, stored: RunManifest = manifest(), force?: string[]) {
  const warnings: string[] = [];
  const logger = { info: () => {}, warn: (text: string) => void warnings.push(text) };
  return { isComparable: checkResume({ path: 'o/checkpoint_1', stored, current, force }, logger), warnings };
}

describe('resumeRules', () => {
  it('has a rule for each option of both configurations', () => {
    const options = [...Object.keys(alignPropConfigSchema.shape), ...Object.keys(ddpoConfigSchema.shape)];
    expect(options.filter((option) => !(option in resumeRules))).toEqual([]);
    const others = [
      'model',
      'embeddings',
      'lora',
      'reward',
      'reward_decoder',
      'eval_reward',
      'prompts',
      'data',
      'eval_prompts',
      'engine',
    ];
    const known = [...options, ...others, 'algorithm'];
    expect(Object.keys(resumeRules).filter((name) => !known.includes(name))).toEqual([]);
  });
});

describe('checkResume', () => {
  it('says nothing of a run that is the same, and of options that change no numbers', () => {
    const same = { warnings: [], isComparable: true };
    expect(resume(manifest())).toEqual(same);
    const free = {
      num_epochs: 200,
      save_freq: 7,
      output_dir: 'b',
      num_checkpoint_limit: null,
      log_with: 'jsonl',
    } as const;
    expect(resume(manifest(free))).toEqual(same);
    const kwargs = { gaussian: { std: 5, mean: 42 } };
    expect(resume(manifest({ backprop_kwargs: kwargs }))).toEqual(same);
  });

  it('names what changes with its old and new value', () => {
    const current = manifest({ train_learning_rate: 0.1, seed: 5 }, { prompts: part('2 prompts', '1') });
    expect(resume(current)).toEqual({
      isComparable: false,
      warnings: [
        'resume_from: seed changes from 0 to 5. Evaluations are no longer comparable: the best so far is forgotten.',
        'resume_from: train_learning_rate changes from 0.001 to 0.1.',
        'resume_from: prompts changes from 26 prompts to 2 prompts.',
      ],
    });
    expect(resume(manifest({}, { eval_reward: part('low.mjs', '1') }))).toMatchObject({ isComparable: false });
    expect(resume(manifest({ train_learning_rate: 0.1 }))).toMatchObject({ isComparable: true });
  });

  it('refuses another model, reward or adapter by name, unless the name is forced', () => {
    const current = manifest({ lora_alpha: 16 }, { model: part('sd15', '1'), reward: part('blue.mjs', '2') });
    expect(() => resume(current)).toThrow(
      'resume_from: lora_alpha got 16, expected 4; model got sd15 (sha256 11111111…), expected sd15 (sha256 ' +
        '00000000…); reward got blue.mjs, expected red.mjs, as in o/checkpoint_1. Leave them as the run has them, ' +
        'start another run in a new output_dir, ' +
        'or accept the change with --force lora_alpha --force model --force reward.',
    );
    expect(() => resume(current, manifest(), ['lora-alpha', 'model'])).toThrow(/^resume_from: reward got blue.mjs, /);
    expect(resume(current, manifest(), ['lora_alpha', 'model', 'reward']).warnings).toHaveLength(3);
  });

  it('refuses what the tensors of the checkpoint do not fit, even if it is forced', () => {
    expect(() => resume(manifest({ lora_rank: 8 }), manifest(), ['lora_rank'])).toThrow(
      'resume_from: lora_rank got 8, expected 4, as in o/checkpoint_1. ' +
        'Leave it as the run has it or start another run in a new output_dir.',
    );
  });

  it('says of a checkpoint whose program named no inputs what cannot be compared', () => {
    const [warning, ...others] = resume(manifest(), createManifest('alignprop', { seed: 0 })).warnings;
    expect(warning).toMatch(/^resume_from: o\/checkpoint_1 does not say which model, reward and prompts/);
    expect(others).toEqual([]);
  });
});
