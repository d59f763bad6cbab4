import { useBackend, vjp, type Engine } from '@alignprop/autograd-ext';
import { directory, encodeSafetensors, memory, openWeightFile } from '@alignprop/autograd-ext/weights';
import { avgPool, div, mul, randomUniform, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { engineNames, startEngine } from '../../../../fixtures/engines.js';
import { expectClose, fixturePath, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';
import type { RewardModel } from '../reward.js';
import { testReward } from '../testing/test-reward.js';
import { aesthetic } from './aesthetic.js';

const weights = fixturePath('reward-aesthetic/clip');
const head = fixturePath('reward-aesthetic/sac+logos+ava1-l14-linearMSE.pth');

describe.each(engineNames)('aesthetic on %s', (name) => {
  let golden: Record<string, Tensor>;
  let engine: Engine;
  let model: RewardModel;
  beforeAll(async () => {
    engine = await startEngine(name);
    golden = await fixtureTensors('reward-aesthetic/io.safetensors');
    ({ model } = await aesthetic({ weights, head, load: false }));
  });
  afterAll(() => engine.dispose());

  const run = (images: Tensor4D) => engine.compileVjp(model.score, { wrt: [0] })(model.params, [images]);

  it('scores as TRL’s AestheticScorer, with its gradient', async () => {
    const { value, inputs } = await run(toNHWC(golden['0.images']!));
    expectScores(value, golden['0.score']!);
    expectClose(toNCHW(inputs[0]!), golden['0.grad_images']!, 1e-3, 'gradient');
  });

  it('scores a large picture as TRL’s AestheticScorer, with its gradient', async () => {
    const { value, inputs } = await run(div(toNHWC(golden['1.images_uint8']!), 255));
    expectScores(value, golden['1.score']!);
    const blocks = mul(avgPool(inputs[0] as Tensor4D, 4, 4, 'valid'), 16);
    expectClose(toNCHW(blocks), golden['1.grad_images_sum4']!, 1e-3, 'gradient, summed over 4 × 4 pixels');
  });
});

const expectScores = (actual: Tensor, expected: Tensor) =>
  actual.dataSync().forEach((value, i) => expect(Math.abs(value - expected.dataSync()[i]!)).toBeLessThanOrEqual(1e-4));

describe('aesthetic', () => {
  beforeAll(() => useBackend('wasm'));

  it('keeps the promises of a reward, and scores the same when called', async () => {
    const reward = await aesthetic({ weights, head });
    const golden = await fixtureTensors('reward-aesthetic/io.safetensors');
    expectScores(reward(toNHWC(golden['0.images']!), [], []), golden['0.score']!);
    await testReward(reward, { range: [-12.76, 23.24], entries: 24 });
    reward.dispose();
  });

  it('has a head of linear layers alone, which may be multiplied out', async () => {
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
      aesthetic({ weights, head }),
      aesthetic({ weights, head: memory({ 'model.safetensors': folded }) }),
    ]);
    const images = randomUniform([3, 40, 40, 3], 0, 1, 'float32', 1) as Tensor4D;
    const [a, b] = [layered, affine].map((reward) => vjp((_, x) => reward(x as Tensor4D, [], []), {}, [images]));
    expectClose(b!.value, a!.value, 1e-6, 'scores');
    expectClose(b!.inputs[0]!, a!.inputs[0]!, 1e-5, 'gradients');
  });

  it('says what is wrong with its weights', async () => {
    await expect(aesthetic({ weights, head: memory({ 'a.txt': '' }, 'nothing') })).rejects.toThrow(
      "aesthetic: 'nothing' has no head. Looked for aesthetic-model.pth, sac+logos+ava1-l14-linearMSE.pth, model.safetensors. Pass the file's path.",
    );
    await expect(aesthetic({ weights: fixturePath('reward-pickscore/clip'), head })).rejects.toThrow(
      /aesthetic: the weights in .* do not fit its config\.\n1 of another shape: layers\.0\.weight \(got \[1024, 768\], expected \[1024, 40\]\)/,
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
