import { describe, expect, it } from 'vitest';
import { readSettings } from './adapter-settings.js';

describe('readSettings', () => {
  it.each([
    ['the rank without a configuration', {}, 'x.to_q', 4],
    ["peft's default of 8 in a configuration without α", { peft_type: 'LORA', r: 4 }, 'x.to_q', 8],
    ['lora_alpha', { lora_alpha: 6 }, 'x.to_q', 6],
    ['alpha, of LoHa and LoKr', { peft_type: 'LOHA', alpha: 3 }, 'x.to_q', 3],
    ['√r times as much for use_rslora', { lora_alpha: 6, use_rslora: true }, 'x.to_q', 12],
    [
      'the first pattern that matches',
      { lora_alpha: 6, alpha_pattern: { '^to_q': 1, 'x\\.to_q': 2, to_q: 3 } },
      'x.to_q',
      2,
    ],
    ['lora_alpha where no pattern matches', { lora_alpha: 6, alpha_pattern: { to_k: 2 } }, 'x.to_q', 6],
  ])('takes for α %s', (_, fields, module, expected) => {
    expect(readSettings(fields)(module, undefined).alphaOf(4)).toBe(expected);
    expect(readSettings(fields)(module, 5).alphaOf(4)).toBe(5); // the module's own comes first
  });

  it('takes the rank of the first pattern that matches, else r', () => {
    const settingsOf = readSettings({ r: 4, rank_pattern: { 'mid\\..*': 6 } });
    expect(['mid.to_q', 'up.to_q'].map((module) => settingsOf(module, undefined).rank)).toEqual([6, 4]);
    expect(readSettings({})('to_q', undefined).rank).toBeUndefined();
  });

  it.each([
    [['ff.net.2'], [true, false]],
    ['.*ff\\.net\\.\\d', [true, false]],
    [null, [false, false]],
  ])('knows the feedforward modules of (IA)³: %j', (feedforward, expected) => {
    const settingsOf = readSettings({ peft_type: 'IA3', feedforward_modules: feedforward });
    const modules = ['mid.ff.net.2', 'mid.attn1.to_k'];
    expect(modules.map((module) => settingsOf(module, undefined).isFeedforward)).toEqual(expected);
  });

  // Fields of peft 0.21's configurations that are applied, or change nothing of a trained adapter.
  it.each([
    { bias: 'none', fan_in_fan_out: true, lora_dropout: 0.1, inference_mode: true, target_modules: 'all-linear' },
    { init_lora_weights: true, use_dora: true, lora_bias: true, use_qalora: false, qalora_group_size: 16 },
    { init_lora_weights: 'gaussian' },
    { init_lora_weights: 'eva', eva_config: { rho: 2 } },
    { init_lora_weights: 'orthogonal', velora_config: { num_groups: 2 } },
    { init_lora_weights: 'PiSSA', loftq_config: {}, modules_to_save: [], layers_to_transform: [1] },
    { init_lora_weights: 'olora', exclude_modules: ['conv_in'], ensure_weight_tying: true, megatron_core: 'x' },
    { peft_type: 'LOKR', decompose_both: true, decompose_factor: 4, use_effective_conv2d: true, rank_dropout: 0.5 },
  ])('accepts %j', (fields) => expect(() => readSettings(fields)).not.toThrow());

  it.each<[object, string]>([
    [{ peft_type: 'OFT' }, "peft_type got 'OFT', expected LORA, LOHA, LOKR, IA3"],
    [{ init_lora_weights: 'pissa_niter_16' }, "init_lora_weights got 'pissa_niter_16': the fast decomposition"],
    [{ init_lora_weights: 'corda' }, "init_lora_weights got 'corda': CorDA depends on the data"],
    [{ init_lora_weights: 'lora_ga' }, "init_lora_weights got 'lora_ga': LoRA-GA depends on the gradients"],
    [{ init_lora_weights: 'loftq' }, "init_lora_weights got 'loftq': LoftQ belongs to a quantised model"],
    [{ init_lora_weights: 'new' }, "init_lora_weights got 'new', expected true, false or one of gaussian"],
    [{ bias: 'lora_only' }, "bias got 'lora_only', expected 'none'"],
    [{ modules_to_save: ['conv_in'] }, 'modules_to_save got ["conv_in"], expected nothing'],
    [{ layer_replication: [[0, 1]] }, 'layer_replication got [[0,1]], expected nothing'],
    [{ trainable_token_indices: [5] }, 'trainable_token_indices got [5], expected nothing'],
    [{ target_parameters: ['w'] }, 'target_parameters got ["w"], expected nothing'],
    [{ use_qalora: true }, 'use_qalora got true, expected nothing'],
    [{ use_bdlora: { nblocks: 2 } }, 'use_bdlora got {"nblocks":2}, expected nothing'],
    [{ kasa_config: { beta: 1 } }, 'kasa_config got {"beta":1}, expected nothing'],
    [{ use_future: true }, 'use_future got true, which is not known here'],
    [{ future_config: { a: 1 } }, 'future_config got {"a":1}, which is not known here'],
    [{ lora_alpha: '6' }, 'lora_alpha got "6", expected a number'],
    [{ rank_pattern: { to_q: null } }, "rank_pattern 'to_q' got null, expected a number"],
    [{ alpha_pattern: { '(?i)to_q': 2 } }, "alpha_pattern got '(?i)to_q', expected a regular expression: "],
  ])('refuses %j', (fields, message) => {
    expect(() => readSettings({ ...fields })).toThrow(message);
    expect(() => readSettings({ ...fields })).toThrow('Merge the adapter with peft instead.');
  });
});
