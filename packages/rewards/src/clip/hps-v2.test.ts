import { useBackend, type Engine } from '@alignprop/autograd-ext';
import { directory, memory } from '@alignprop/autograd-ext/weights';
import { randomUniform, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { engineNames, startEngine } from '../../../../fixtures/engines.js';
import { expectClose, fixtureJson, fixturePath, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';
import { testReward } from '../testing/test-reward.js';
import { hpsV2 } from './hps-v2.js';

const folder = fixturePath('reward-hpsv2');
const tokenizer = `${folder}/tokenizer`;
const { prompts } = fixtureJson<{ prompts: string[] }>('reward-hpsv2/case.json');

describe.each(engineNames)('hpsV2 on %s', (name) => {
  let golden: Record<string, Tensor>;
  let engine: Engine;
  beforeAll(async () => {
    engine = await startEngine(name);
    golden = await fixtureTensors('reward-hpsv2/io.safetensors');
  });
  afterAll(() => engine.dispose());

  it.each([
    ['a checkpoint', `${folder}/HPS_tiny.pt`],
    ['a safetensors file', folder],
  ])('scores as AlignProp’s hps_loss_fn, with its gradient, from %s', async (_, weights) => {
    const { model } = await hpsV2({ weights, tokenizer, load: false });
    const tokens = model.inputs!(prompts, []);
    expect([...tokens[0]!.dataSync()]).toEqual([...golden.tokens!.dataSync()]);
    const { value, inputs } = await engine.compileVjp(model.score, { wrt: [0] })(model.params, [
      toNHWC(golden['0.images']!),
      ...tokens,
    ]);
    expectScores(value, golden['0.score']!);
    expectClose(toNCHW(inputs[0]!), golden['0.grad_images']!, 1e-3, 'gradient');
  });
});

const expectScores = (actual: Tensor, expected: Tensor) =>
  actual.dataSync().forEach((value, i) => expect(Math.abs(value - expected.dataSync()[i]!)).toBeLessThanOrEqual(1e-5));

describe('hpsV2', () => {
  beforeAll(() => useBackend('wasm'));

  it('scores the same when called', async () => {
    const reward = await hpsV2({ weights: folder, tokenizer });
    const golden = await fixtureTensors('reward-hpsv2/io.safetensors');
    expectScores(reward(toNHWC(golden['0.images']!), prompts, []), golden['0.score']!);
    reward.dispose();
  });

  it.each(['bilinear', 'bicubic'] as const)('keeps the promises of a reward, %s', async (mode) => {
    const reward = await hpsV2({ weights: folder, tokenizer, mode });
    await testReward(reward, { range: [-1, 1], entries: 12 });
    reward.dispose();
  });

  it('takes the checkpoint of the version', async () => {
    const bytes = await bytesOf('HPS_tiny.pt');
    const config = JSON.stringify(fixtureJson('reward-hpsv2/open_clip_config.json'));
    const weights = memory({
      'HPS_v2_compressed.pt': bytes,
      'open_clip_config.json': config,
      'HPS_v2.1_compressed.pt': 'broken',
    });
    const [reward, same] = await Promise.all([
      hpsV2({ version: 'v2', weights, tokenizer }),
      hpsV2({ weights: folder, tokenizer }),
    ]);
    const images = randomUniform([1, 9, 7, 3], 0, 1, 'float32', 1) as Tensor4D;
    expect([...reward(images, ['a'], []).dataSync()]).toEqual([...same(images, ['a'], []).dataSync()]);
    await expect(hpsV2({ weights, tokenizer })).rejects.toThrow(/HPS_v2\.1_compressed\.pt/);
    await expect(hpsV2({ version: 'v3' as 'v2', weights })).rejects.toThrow(
      "hpsV2: version got 'v3', expected 'v2' or 'v2.1'.",
    );
  });

  it('expects a ViT-H-14 where there is no config, as in HPSv2’s own repository', async () => {
    const weights = memory({ 'HPS_v2.1_compressed.pt': await bytesOf('HPS_tiny.pt') });
    await expect(hpsV2({ weights, tokenizer })).rejects.toThrow(
      /visual_projection\.matrix \(got \[24, 48\], expected \[1280, 1024\]\)/,
    );
  });
});

async function bytesOf(name: string): Promise<Uint8Array> {
  const file = await directory(folder).open(name);
  const bytes = await file.read(0, file.size);
  await file.close();
  return bytes;
}
