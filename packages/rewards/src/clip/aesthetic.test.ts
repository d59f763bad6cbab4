import { useBackend, vjp } from '@alignprop/autograd-ext';
import { directory, encodeSafetensors, memory, openWeightFile } from '@alignprop/autograd-ext/weights';
import { avgPool, div, mul, randomUniform, type Tensor4D } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectClose, fixturePath, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';
import { describeOnEngines, expectWithin } from '../__fixtures__/reference.js';
import { tinyAesthetic } from '../__fixtures__/tiny-models.js';
import type { RewardModel } from '../reward.js';
import { aesthetic } from './aesthetic.js';

const { weights, head } = tinyAesthetic;

describeOnEngines('aesthetic', 'reward-aesthetic', (reference) => {
  let model: RewardModel;
  beforeAll(async () => {
    ({ model } = await aesthetic({ ...tinyAesthetic, load: false }));
  });
  const run = (images: Tensor4D) => reference.engine.compileVjp(model.score, { wrt: [0] })(model.params, [images]);

  it('scores as TRL’s AestheticScorer, with its gradient', async () => {
    const { golden } = reference;
    const { value, inputs } = await run(toNHWC(golden['0.images']!));
    expectWithin(value, golden['0.score']!, 1e-4);
    expectClose(toNCHW(inputs[0]!), golden['0.grad_images']!, 1e-3, 'gradient');
  });

  it('scores a large picture as TRL’s AestheticScorer, with its gradient', async () => {
    const { golden } = reference;
    const { value, inputs } = await run(div(toNHWC(golden['1.images_uint8']!), 255));
    expectWithin(value, golden['1.score']!, 1e-4);
    const blocks = mul(avgPool(inputs[0] as Tensor4D, 4, 4, 'valid'), 16);
    expectClose(toNCHW(blocks), golden['1.grad_images_sum4']!, 1e-3, 'gradient, summed over 4 × 4 pixels');
  });
});

describe('aesthetic', () => {
  beforeAll(() => useBackend('wasm'));

  it('scores the same when it is called directly', async () => {
    const reward = await aesthetic(tinyAesthetic);
    const golden = await fixtureTensors('reward-aesthetic/io.safetensors');
    expectWithin(reward(toNHWC(golden['0.images']!), [], []), golden['0.score']!, 1e-4);
    reward.dispose();
  });

  it('accepts the head multiplied out to one linear map', async () => {
    const { weight, bias } = await foldedHead();
    expect(bias).toBeCloseTo(5.23664584, 6);
    expect(Math.hypot(...weight)).toBeCloseTo(17.99562478, 6);
    expect([...weight.slice(0, 6)].map((value) => Number(value.toFixed(6)))).toEqual([
      -0.691593, -0.556994, -0.321169, -0.631484, -0.184793, -0.09534,
    ]);
    expect(bias + weight.reduce((sum, value) => sum + value) / Math.sqrt(768)).toBeCloseTo(4.88328485, 6);
    expect(bias + weight[0]!).toBeCloseTo(4.5450524, 6);

    const folded = encodeSafetensors({
      weight: { shape: [1, 768], dtype: 'F32', data: Float32Array.from(weight) },
      bias: { shape: [1], dtype: 'F32', data: Float32Array.of(bias) },
    });
    const [layered, affine] = await Promise.all([
      aesthetic(tinyAesthetic),
      aesthetic({ weights, head: memory({ 'model.safetensors': folded }) }),
    ]);
    const images = randomUniform([3, 40, 40, 3], 0, 1, 'float32', 1) as Tensor4D;
    const [a, b] = [layered, affine].map((reward) => vjp((_, x) => reward(x as Tensor4D, [], []), {}, [images]));
    expectClose(b!.value, a!.value, 1e-6, 'scores');
    expectClose(b!.inputs[0]!, a!.inputs[0]!, 1e-5, 'gradients');
  });

  it('rejects a location without a head, and weights of other shapes', async () => {
    await expect(aesthetic({ weights, head: memory({ 'a.txt': '' }, 'nothing') })).rejects.toThrow(
      "aesthetic: 'nothing' has no head. Looked for aesthetic-model.pth, sac+logos+ava1-l14-linearMSE.pth, " +
        "model.safetensors. Pass the file's path.",
    );
    await expect(aesthetic({ weights: fixturePath('reward-pickscore/clip'), head })).rejects.toThrow(
      new RegExp(
        String.raw`aesthetic: the weights in .* do not fit its config\.\n` +
          String.raw`1 of another shape: layers\.0\.weight \(got \[1024, 768\], expected \[1024, 40\]\)`,
      ),
    );
  });
});

/** The head as one linear map, multiplied out in float64. */
async function foldedHead(): Promise<{ weight: Float64Array; bias: number }> {
  const tensors = await openWeightFile(directory(fixturePath('reward-aesthetic')), 'sac+logos+ava1-l14-linearMSE.pth');
  let weight = Float64Array.of(1);
  let bias = 0;
  for (const place of [7, 6, 4, 2, 0]) {
    const [matrix, offsets] = await Promise.all(
      ['weight', 'bias'].map((name) => tensors.get(`layers.${place}.${name}`)!.read()),
    );
    const [outputs, inputs] = tensors.get(`layers.${place}.weight`)!.shape as [number, number];
    bias += weight.reduce((sum, value, row) => sum + value * offsets![row]!, 0);
    const next = new Float64Array(inputs);
    for (let row = 0; row < outputs; row++)
      for (let i = 0; i < inputs; i++) next[i]! += weight[row]! * matrix![row * inputs + i]!;
    weight = next;
  }
  return { weight, bias };
}
