import { readFileSync } from 'node:fs';
import { TfjsEngine, useBackend, vjp } from '@alignprop/autograd-ext';
import { memory } from '@alignprop/autograd-ext/weights';
import { loadGraphModel, type GraphModel } from '@tensorflow/tfjs-converter';
import {
  getKernel,
  io,
  log,
  mean,
  randomUniform,
  registerKernel,
  reshape,
  slice,
  sum,
  unregisterKernel,
  type Tensor,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { testBackends } from '../../../../fixtures/engines.js';
import { expectClose } from '../../../../fixtures/index.js';
import { emotion, emotionLogits as logits, humanModel } from '../__fixtures__/tiny-models.js';
import { fitInput } from './fit-input.js';
import { graphModel } from './graph-model.js';

const noise = (shape: [number, number, number, number], seed = 1) =>
  randomUniform(shape, 0, 1, 'float32', seed) as Tensor4D;

/** Loads a model by tfjs-converter, with its weights. */
async function loadByTfjs(name: string): Promise<GraphModel> {
  const json = JSON.parse(readFileSync(humanModel(`${name}.json`), 'utf8')) as io.ModelJSON;
  const bytes = new Uint8Array(readFileSync(humanModel(`${name}.bin`)));
  return loadGraphModel(
    io.fromMemory({ ...json, weightSpecs: io.getWeightSpecs(json.weightsManifest), weightData: bytes.buffer }) as never,
  );
}

function gradientOf(reward: Awaited<ReturnType<typeof graphModel>>, images: Tensor4D): Tensor {
  return vjp((_, x) => reward(x as Tensor4D, images.shape.map(String), []), {}, [images]).inputs[0]!;
}

describe.each(testBackends)('models of @vladmandic/human on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it('score as in tfjs-converter', async () => {
    const images = noise([2, 64, 64, 3]);
    const own = await graphModel({ ...emotion, score: (p) => log(slice(p!, [0, 3], [-1, 1])) });
    const theirs = await loadByTfjs('emotion');
    const input = fitInput({ range: [-1, 1] })(images, [-1, 64, 64, 1]);
    expectClose(
      own(images, ['', ''], []),
      reshape(log(slice(theirs.execute(input) as Tensor, [0, 3], [-1, 1])), [-1]),
      1e-6,
      'log P(happy)',
    );
    theirs.dispose();
    own.dispose();
  });
});

describe('the weights of a graphModel', () => {
  beforeAll(() => useBackend('wasm'));

  it('stay in their files until an engine reads them', async () => {
    const reward = await graphModel({ ...emotion, output: logits, load: false });
    const images = noise([1, 64, 64, 3]);
    expect(Object.keys(reward.model.params)).toHaveLength(22);
    expect(() => reward(images, [''], [])).toThrow('loadReward');
    const engine = new TfjsEngine();
    const loaded = await graphModel({ ...emotion, output: logits });
    const { value, inputs } = await engine.compileVjp(reward.model.score, { wrt: [0] })(reward.model.params, [images]);
    expectClose(value, loaded(images, [''], []), 1e-6, 'score');
    expectClose(inputs[0]!, gradientOf(loaded, images), 1e-6, 'gradient');
    engine.dispose();
    loaded.dispose();
  });

  it('are only those that the requested output needs', async () => {
    const count = async (output: string) =>
      Object.keys(
        (await graphModel({ model: humanModel('faceres.json'), score: (y) => mean(y!, 1), output, load: false })).model
          .params,
      ).length;
    expect(await count('global_pooling/Mean')).toBeLessThan(await count('age_pred/Softmax:0'));
  });

  it('get no gradients', async () => {
    const reward = await graphModel({ ...emotion, output: logits });
    const kernels = ['Conv2DBackpropFilter', 'DepthwiseConv2dNativeBackpropFilter'].map((name) =>
      getKernel(name, 'wasm')!,
    );
    kernels.forEach(({ kernelName, backendName }) => unregisterKernel(kernelName, backendName));
    expect(sum(gradientOf(reward, noise([1, 64, 64, 3]))).dataSync()[0]).not.toBe(0);
    kernels.forEach((kernel) => registerKernel(kernel));
    reward.dispose();
  });
});

it('the gradient of graphModel is the same on wasm and on cpu, and for 2 images as for one', async () => {
  const gradients = [];
  for (const [backend, batch] of [
    ['wasm', 2],
    ['cpu', 1],
  ] as const) {
    await useBackend(backend);
    const reward = await graphModel({ ...emotion, output: logits });
    gradients.push(gradientOf(reward, slice(noise([2, 64, 64, 3]), [0, 0, 0, 0], [batch, -1, -1, -1])).dataSync());
    reward.dispose();
  }
  const [two, one] = gradients as [Float32Array, Float32Array];
  const most = one.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  expect(most).toBeGreaterThan(1e-4);
  expect(Math.max(...one.map((value, i) => Math.abs(value - two[i]!)))).toBeLessThan(2e-5 * most);
});

describe('graphModel', () => {
  it.each([
    [
      'integer inputs',
      { ...emotion, model: humanModel('movenet-lightning.json') },
      'takes DT_INT32, expected DT_FLOAT',
    ],
    ['an unknown output', { ...emotion, output: 'sadness' }, "has no node 'sadness'. Outputs are"],
    ['an output index that is too large', { ...emotion, output: 1 }, 'output got 1, expected less than 1'],
    ['a folder without a model', { ...emotion, model: memory({}) }, "there is no file 'memory/model.json'"],
    [
      'other JSON',
      { ...emotion, model: memory({ 'model.json': '{"a": 1}' }) },
      'has no modelTopology with a weightsManifest',
    ],
  ])('rejects %s', async (_, options, message) => {
    await expect(graphModel(options)).rejects.toThrow(message);
  });

  it('rejects a score function that does not return [B]', async () => {
    await useBackend('wasm');
    const images = noise([2, 64, 64, 3]);
    await expect(
      graphModel({ ...emotion, score: [1, 2] }).then((reward) => reward(images, ['', ''], [])),
    ).rejects.toThrow('got 2 weights for an output of shape [2,7]');
    await expect(
      graphModel({ ...emotion, score: (p) => mean(p!) }).then((reward) => reward(images, ['', ''], [])),
    ).rejects.toThrow('score gave shape [] for 2 images');
  });
});
