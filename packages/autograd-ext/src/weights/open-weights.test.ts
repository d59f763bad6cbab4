import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { fixturePath } from '../../../../fixtures/index.js';
import { useBackend } from '../backend.js';
import type { StoredTensor } from '../params.js';
import { directory } from './files/directory.js';
import { subfolder } from './files/file-source.js';
import { memory } from './files/memory.js';
import { openWeights } from './open-weights.js';
import { encodeSafetensors } from './safetensors/save-safetensors.js';

beforeAll(() => useBackend('cpu'));

const load = directory(fixturePath('load'));
const open = (folder: string, variant?: string) =>
  openWeights(subfolder(load, folder), folder.endsWith('text_encoder') ? 'model' : 'diffusion_pytorch_model', {
    variant,
  });

async function expectSame(
  actual: ReadonlyMap<string, StoredTensor>,
  expected: ReadonlyMap<string, StoredTensor>,
  relative = 0,
): Promise<void> {
  expect([...actual.keys()].sort()).toEqual([...expected.keys()].sort());
  for (const [key, stored] of expected) {
    expect(actual.get(key)!.shape, key).toEqual(stored.shape);
    const [a, e] = [await actual.get(key)!.read(), await stored.read()];
    const far = e.findIndex((value: number, i: number) => !(Math.abs(a[i]! - value) <= relative * Math.abs(value)));
    expect(far, `${key}: first differing value`).toBe(-1);
  }
}

describe('openWeights', () => {
  it.each([
    ['sharded/unet', 'plain/unet', undefined],
    ['sharded/text_encoder', 'plain/text_encoder', undefined],
    ['fp16/unet', 'plain/unet', undefined],
    ['fp16-variant/unet', 'plain/unet', 'fp16'],
    ['fp16-variant/vae', 'plain/vae', 'fp16'],
    ['fp16-variant/text_encoder', 'plain/text_encoder', 'fp16'],
    ['sharded-fp16-variant/unet', 'plain/unet', 'fp16'],
    ['bin/unet', 'plain/unet', undefined],
    ['bin/text_encoder', 'plain/text_encoder', undefined],
  ])('reads from %s the values of %s', async (folder, plain, variant) =>
    expectSame(await open(folder, variant), await open(plain)),
  );

  it('reads from bf16/unet the values of plain/unet, rounded to 8 bits', async () => {
    const rounded = await open('bf16/unet');
    expect([...rounded.values()].every(({ dtype }) => dtype === 'BF16')).toBe(true);
    await expectSame(rounded, await open('plain/unet'), 2 ** -8);
  });

  it('opens a file by its name', async () => {
    await expectSame(await openWeights(load, 'bin/legacy.bin'), await open('plain/unet'));
    await expectSame(
      await openWeights(load, 'plain/unet/diffusion_pytorch_model.safetensors'),
      await open('plain/unet'),
    );
    const head = await openWeights(directory(fixturePath('reward-aesthetic')), 'sac+logos+ava1-l14-linearMSE.pth');
    expect(head.get('layers.0.weight')!.shape).toEqual([1024, 768]);
    expect([...(await openWeights(directory(fixturePath('files/pt')), 'nested.pth')).keys()]).toEqual([
      'layers.0.weight',
      'layers.0.bias',
      'layers.2.weight',
    ]); // the tensors of its state_dict
    await expect(openWeights(load, 'nowhere.ckpt')).rejects.toThrow(/there is no such file/);
  });

  it('lists the names tried and the files present, and suggests the variant', async () => {
    await expect(open('fp16-variant/unet')).rejects.toThrow(
      new RegExp(
        "^openWeights: no weights in '.*fp16-variant/unet'\\. Looked for diffusion_pytorch_model\\.safetensors, " +
          'diffusion_pytorch_model\\.safetensors\\.index\\.json, diffusion_pytorch_model\\.bin, ' +
          'diffusion_pytorch_model\\.bin\\.index\\.json; there is diffusion_pytorch_model\\.fp16\\.safetensors\\. ' +
          "Pass variant 'fp16'\\.$",
      ),
    );
    await expect(open('sharded-fp16-variant/unet')).rejects.toThrow(/Pass variant 'fp16'\.$/);
  });

  it('suggests another variant, or none, where the given one is missing', async () => {
    await expect(open('plain/unet', 'fp16')).rejects.toThrow(
      new RegExp(
        'Looked for diffusion_pytorch_model\\.fp16\\.safetensors, ' +
          'diffusion_pytorch_model\\.safetensors\\.index\\.fp16\\.json, ' +
          'diffusion_pytorch_model\\.safetensors\\.fp16\\.index\\.json, ' +
          'diffusion_pytorch_model\\.fp16\\.safetensors\\.index\\.json, diffusion_pytorch_model\\.fp16\\.bin, .*; ' +
          'there is diffusion_pytorch_model\\.safetensors\\. Leave out the variant\\.$',
      ),
    );
    await expect(open('sharded/unet', 'fp16')).rejects.toThrow(/Leave out the variant\.$/);
    await expect(open('fp16-variant/unet', 'bf16')).rejects.toThrow(/Pass variant 'fp16'\.$/);
  });

  it('suggests naming the file where it has another name', async () => {
    await expect(open('bin')).rejects.toThrow(
      /there is legacy\.bin\. Name the file if it is one of those: 'legacy\.bin'\.$/,
    );
  });

  it.each([
    ['flax_model.msgpack', 'Flax'],
    ['tf_model.h5', 'TensorFlow'],
    ['model.onnx', 'ONNX'],
  ])('says whose weights a folder has: %s', async (file, framework) => {
    await expect(openWeights(memory({ [file]: '', 'config.json': '{}' }), 'model')).rejects.toThrow(
      `there is ${file}. These are files of ${framework}: take the model's safetensors, or its files for PyTorch.`,
    );
  });

  it('says that a folder is empty or missing', async () => {
    await expect(open('nowhere/unet')).rejects.toThrow(/there is no weight file\. Check the path/);
  });
});

describe('openWeights, shards', () => {
  const index = (weightMap: unknown) => JSON.stringify({ weight_map: weightMap });
  const openFiles = (files: Record<string, Uint8Array | string>) => openWeights(memory(files), 'model');
  const shard = encodeSafetensors({ a: tensorOf(1) });

  it('reads an index whose name has the variant first', async () => {
    const weights = await openWeights(
      memory({ 'model.fp16.safetensors.index.json': index({ a: 's.safetensors' }), 's.safetensors': shard }),
      'model',
      { variant: 'fp16' },
    );
    expect(await weights.get('a')!.read()).toEqual(Float32Array.of(1));
  });

  it('takes each tensor from the shard that the index names', async () => {
    const other = encodeSafetensors({ a: tensorOf(2), b: tensorOf(3) });
    const weights = await openFiles({
      'model.safetensors.index.json': index({ a: 's.safetensors', b: 't.safetensors' }),
      's.safetensors': shard,
      't.safetensors': other,
    });
    expect(await weights.get('a')!.read()).toEqual(Float32Array.of(1));
    expect(await weights.get('b')!.read()).toEqual(Float32Array.of(3));
  });

  it.each([
    ['pytorch_model.bin.index.json', undefined],
    ['pytorch_model.bin.index.fp16.json', 'fp16'],
  ])('reads the shards of torch of %s', async (name, variant) => {
    const files = {
      [name]: index({ w: 's.bin', frozen: 's.bin' }),
      's.bin': new Uint8Array(readFileSync(fixturePath('files/pt/parameters.pt'))),
    };
    const weights = await openWeights(memory(files), 'model', { variant });
    expect([...weights].map(([key, { shape }]) => [key, shape])).toEqual([
      ['w', [3, 3]],
      ['frozen', [2]],
    ]);
    await expect(openWeights(memory({ [name]: index({ w: 's.safetensors' }) }), 'model', { variant })).rejects.toThrow(
      /expected tensor names with \.bin files of the same folder/,
    );
  });

  it('prefers safetensors to files of torch', async () => {
    const weights = await openFiles({ 'pytorch_model.bin': 'not read', 'model.safetensors': shard });
    expect([...weights.keys()]).toEqual(['a']);
  });

  it('lists all shards and all tensors that are missing', async () => {
    const missing = index({ a: 's.safetensors', b: 't.safetensors', c: 'u.safetensors' });
    await expect(openFiles({ 'model.safetensors.index.json': missing, 's.safetensors': shard })).rejects.toThrow(
      /names files that are not there: t\.safetensors, u\.safetensors\./,
    );
    const lacking = index({ a: 's.safetensors', b: 's.safetensors', c: 's.safetensors' });
    await expect(openFiles({ 'model.safetensors.index.json': lacking, 's.safetensors': shard })).rejects.toThrow(
      /lack: b \(s\.safetensors\), c \(s\.safetensors\)\./,
    );
  });

  it.each([
    'null',
    '{}',
    '[]',
    index({}),
    index({ a: 1 }),
    index({ a: '../s.safetensors' }),
    index({ a: '/etc/s.safetensors' }),
    index('x'),
  ])('refuses the index %s', async (text) => {
    await expect(openFiles({ 'model.safetensors.index.json': text, 's.safetensors': shard })).rejects.toThrow(
      /(?:weight_map of|readJson:) 'model\.safetensors\.index\.json' in 'memory' got/,
    );
  });

  function tensorOf(value: number) {
    return { dtype: 'F32', shape: [1], data: Float32Array.of(value) };
  }
});
