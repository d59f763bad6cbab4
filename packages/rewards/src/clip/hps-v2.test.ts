import { useBackend } from '@alignprop/autograd-ext';
import { directory, memory } from '@alignprop/autograd-ext/weights';
import { randomUniform, type Tensor4D } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectClose, fixtureJson, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';
import { describeOnEngines, expectWithin } from '../__fixtures__/reference.js';
import { tinyHps } from '../__fixtures__/tiny-models.js';
import { hpsV2 } from './hps-v2.js';

const { weights: folder, tokenizer } = tinyHps;
const { prompts } = fixtureJson<{ prompts: string[] }>('reward-hpsv2/case.json');

describeOnEngines('hpsV2', 'reward-hpsv2', (reference) => {
  it.each([
    ['a checkpoint', `${folder}/HPS_tiny.pt`],
    ['a safetensors file', folder],
  ])('has the score and the gradient of AlignProp’s hps_loss_fn, from %s', async (_, weights) => {
    const { engine, golden } = reference;
    const { model } = await hpsV2({ weights, tokenizer, load: false });
    const tokens = model.inputs!(prompts, []);
    expect([...tokens[0]!.dataSync()]).toEqual([...golden.tokens!.dataSync()]);
    const { value, inputs } = await engine.compileVjp(model.score, { wrt: [0] })(model.params, [
      toNHWC(golden['0.images']!),
      ...tokens,
    ]);
    expectWithin(value, golden['0.score']!, 1e-5);
    expectClose(toNCHW(inputs[0]!), golden['0.grad_images']!, 1e-3, 'gradient');
  });
});

describe('hpsV2', () => {
  beforeAll(() => useBackend('wasm'));

  it('scores the same when it is called directly', async () => {
    const reward = await hpsV2(tinyHps);
    const golden = await fixtureTensors('reward-hpsv2/io.safetensors');
    expectWithin(reward(toNHWC(golden['0.images']!), prompts, []), golden['0.score']!, 1e-5);
    reward.dispose();
  });

  it('reads the checkpoint of the version', async () => {
    const bytes = await bytesOf('HPS_tiny.pt');
    const config = JSON.stringify(fixtureJson('reward-hpsv2/open_clip_config.json'));
    const weights = memory({
      'HPS_v2_compressed.pt': bytes,
      'open_clip_config.json': config,
      'HPS_v2.1_compressed.pt': 'broken',
    });
    const [reward, same] = await Promise.all([hpsV2({ version: 'v2', weights, tokenizer }), hpsV2(tinyHps)]);
    const images = randomUniform([1, 9, 7, 3], 0, 1, 'float32', 1) as Tensor4D;
    expect([...reward(images, ['a'], []).dataSync()]).toEqual([...same(images, ['a'], []).dataSync()]);
    await expect(hpsV2({ weights, tokenizer })).rejects.toThrow(/HPS_v2\.1_compressed\.pt/);
    await expect(hpsV2({ version: 'v3' as 'v2', weights })).rejects.toThrow(
      "hpsV2: version got 'v3', expected 'v2' or 'v2.1'.",
    );
  });

  it('expects a ViT-H-14 if there is no config, as in HPSv2’s own repository', async () => {
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
