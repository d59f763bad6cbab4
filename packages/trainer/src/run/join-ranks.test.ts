import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tensor1d, variable, type Variable } from '@tensorflow/tfjs-core';
import { useBackend } from '@alignprop/autograd-ext';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { lockStep } from '../__fixtures__/lock-step.js';
import { joinRanks, type JoiningRank } from './join-ranks.js';
import { createManifest, type ManifestParts } from './manifest.js';

const hash = (digit: string) => digit.repeat(64);

const parts: ManifestParts = {
  identity: {
    model: {
      name: 'models/sd',
      sha256: hash('a'),
      files: [
        { path: 'unet/config.json', size: 900, sha256: hash('1') },
        { path: 'unet/weights.safetensors', size: 7000, sha256: hash('2') },
      ],
    },
    reward: {
      name: 'score.mjs:2',
      sha256: hash('b'),
      terms: [{ name: 'score.mjs:2', content: hash('3'), settings: [2, 'none', false], options: { quality: 5 } }],
    },
    prompts: { name: "3 prompts from 'cat'", sha256: hash('c') },
    engine: { name: 'onnxruntime, float32', sha256: hash('d') },
  },
  versions: { '@alignprop/trainer': '1.0.0', 'onnxruntime-node': '1.30.0', node: '20.19.0', platform: 'linux-x64' },
};

describe('joinRanks', () => {
  let variables: Record<string, Variable>;
  let folder: string;
  beforeAll(async () => {
    await useBackend('cpu');
    variables = { lora_A: variable(tensor1d([1, 2])) };
    folder = await mkdtemp(join(tmpdir(), 'alignprop-join-'));
  });
  afterAll(async () => {
    variables.lora_A!.dispose();
    await rm(folder, { recursive: true });
  });

  const rankWith = (
    more: Partial<JoiningRank> = {},
    manifestParts: ManifestParts = parts,
    config: Record<string, unknown> = {},
  ): JoiningRank => ({
    manifest: createManifest('alignprop', { seed: 0, height: null, ...config }, manifestParts),
    globalStep: 0,
    variables,
    ...more,
  });
  /** The errors of three ranks, the second of which differs. */
  const errorsWith = async (other: JoiningRank, others = rankWith()): Promise<readonly unknown[]> => {
    const results = await Promise.allSettled(
      lockStep(3).ranks.map((collective, i) => joinRanks(collective, i === 1 ? other : others)),
    );
    return results.map((result) => (result.status === 'rejected' ? (result.reason as Error).message : undefined));
  };
  const withPart = (name: string, part: NonNullable<ManifestParts['identity']>[string]): ManifestParts => ({
    ...parts,
    identity: { ...parts.identity, [name]: part },
  });

  it('joins ranks whose paths, versions of Node and platforms differ', async () => {
    const elsewhere = withPart('model', { ...parts.identity!.model!, name: '/data/sd' });
    const other = rankWith({}, { ...elsewhere, versions: { ...parts.versions, node: '24.0.0', platform: 'darwin' } });
    expect(await errorsWith(other)).toEqual([undefined, undefined, undefined]);
  });

  const { model, reward } = parts.identity!;
  const [config] = model!.files as [object];
  const [term] = reward!.terms as [object];
  it.each<[string, Partial<Record<'manifest' | 'config', object>>, string]>([
    ['options', { config: { seed: 1 } }, 'seed got 0 on ranks 0, 2, 1 on rank 1'],
    ['options that a rank lacks', { config: { ema_decay: 0.9 } }, 'ema_decay got none on ranks 0, 2, 0.9 on rank 1'],
    [
      'package versions',
      { manifest: { ...parts, versions: { ...parts.versions, '@alignprop/trainer': '1.0.1' } } },
      'the version of @alignprop/trainer got "1.0.0" on ranks 0, 2, "1.0.1" on rank 1',
    ],
    [
      'versions of the engine',
      { manifest: { ...parts, versions: { ...parts.versions, 'onnxruntime-node': '1.29.0' } } },
      'the version of onnxruntime-node got "1.30.0" on ranks 0, 2, "1.29.0" on rank 1',
    ],
    [
      'reward code',
      { manifest: withPart('reward', { ...reward!, sha256: hash('e'), terms: [{ ...term, content: hash('4') }] }) },
      'reward score.mjs:2 content got sha256 33333333… on ranks 0, 2, sha256 44444444… on rank 1',
    ],
    [
      'reward options',
      {
        manifest: withPart('reward', { ...reward!, sha256: hash('e'), terms: [{ ...term, options: { quality: 9 } }] }),
      },
      'reward score.mjs:2 options quality got 5 on ranks 0, 2, 9 on rank 1',
    ],
    [
      'rewards',
      { manifest: withPart('reward', { name: 'aesthetic', sha256: hash('e'), terms: [] }) },
      'reward got score.mjs:2 (sha256 bbbbbbbb…) on ranks 0, 2, aesthetic (sha256 eeeeeeee…) on rank 1',
    ],
    [
      'files of the model',
      {
        manifest: withPart('model', {
          ...model!,
          sha256: hash('e'),
          files: [config, { path: 'unet/weights.safetensors', size: 7000, sha256: hash('5') }],
        }),
      },
      'model unet/weights.safetensors got sha256 22222222… on ranks 0, 2, sha256 55555555… on rank 1',
    ],
    [
      'prompts',
      { manifest: withPart('prompts', { name: "3 prompts from 'cat'", sha256: hash('e') }) },
      "prompts got 3 prompts from 'cat' (sha256 cccccccc…) on ranks 0, 2, 3 prompts from 'cat' (sha256 eeeeeeee…) " +
        'on rank 1',
    ],
    [
      'engines, and adapters to start from',
      {
        manifest: {
          ...parts,
          identity: {
            ...parts.identity,
            engine: { name: 'tfjs, float32', sha256: hash('e') },
            lora: { name: 'a.safetensors', sha256: hash('f') },
          },
        },
      },
      'engine got onnxruntime, float32 (sha256 dddddddd…) on ranks 0, 2, tfjs, float32 (sha256 eeeeeeee…) on rank 1; ' +
        'lora got none on ranks 0, 2, a.safetensors (sha256 ffffffff…) on rank 1',
    ],
  ])('refuses ranks with different %s on all of them, by name', async (_, { manifest, config: given }, difference) => {
    const message =
      `Collective: ${difference}, expected the same on all ranks. ` +
      'Give all processes the same options, files and package versions.';
    const other = rankWith({}, manifest, given as Record<string, unknown>);
    expect(await errorsWith(other)).toEqual([message, message, message]);
  });

  it('refuses ranks with variables of other shapes', async () => {
    const other = { lora_A: variable(tensor1d([1, 2, 3])) };
    const [message] = await errorsWith(rankWith({ variables: other }));
    expect(message).toMatch(
      /^Collective: trained weights got 1 tensors \(sha256 .*on ranks 0, 2, 1 tensors .*on rank 1/,
    );
    other.lora_A.dispose();
  });

  it('refuses ranks that resumed after other steps, or from another checkpoint of the same step', async () => {
    const [step] = await errorsWith(rankWith({ globalStep: 4 }));
    expect(step).toMatch(/^Collective: steps taken got 0 on ranks 0, 2, 4 on rank 1,/);
    await writeFile(join(folder, 'state.json'), 'a');
    const other = await mkdtemp(join(folder, 'other-'));
    await writeFile(join(other, 'state.json'), 'b');
    const [checkpoint] = await errorsWith(rankWith({ checkpoint: other }), rankWith({ checkpoint: folder }));
    expect(checkpoint).toMatch(/^Collective: checkpoint got \/.* on ranks 0, 2, \/.*\/other-.* on rank 1, expected/);
  });
});
