import { useBackend, vjp } from '@alignprop/autograd-ext';
import { memory, type FileSource } from '@alignprop/autograd-ext/weights';
import {
  memory as tfjsMemory,
  randomUniform,
  reshape,
  type io,
  type Tensor,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { initializers, layers, loadLayersModel, sequential, type LayersModel } from '@tensorflow/tfjs-layers';
import { beforeAll, describe, expect, it } from 'vitest';
import { testBackends } from '../../../../fixtures/engines.js';
import { expectClose } from '../../../../fixtures/index.js';
import { graphModel } from './graph-model.js';
import { importTfjs } from './functional-model.js';

const random = (seed: number) => initializers.glorotNormal({ seed });

/** Has convolutions that tfjs fuses and others that it does not, with and without bias. */
function smallModel(): LayersModel {
  const kernel = (i: number) => ({
    kernelInitializer: random(i),
    biasInitializer: initializers.randomUniform({ minval: -1, maxval: 1, seed: i + 10 }),
  });
  return sequential({
    layers: [
      layers.conv2d({
        name: 'first',
        inputShape: [8, 8, 3],
        filters: 4,
        kernelSize: 3,
        strides: 2,
        padding: 'same',
        ...kernel(1),
      }),
      layers.batchNormalization({ name: 'norm' }),
      layers.activation({ activation: 'tanh' }),
      layers.conv2d({ name: 'second', filters: 5, kernelSize: [1, 2], useBias: false, ...kernel(2) }),
      layers.depthwiseConv2d({ name: 'third', kernelSize: 2, depthwiseInitializer: random(3) }),
      layers.conv2d({ name: 'fourth', filters: 3, kernelSize: 2, activation: 'elu', ...kernel(4) }),
      layers.globalAveragePooling2d({ name: 'pool' }),
      layers.dropout({ rate: 0.5 }),
      layers.dense({ name: 'classes', units: 1, activation: 'sigmoid', ...kernel(5) }),
    ],
  });
}

async function saved(model: LayersModel, change: (json: io.ModelJSON) => void = () => {}): Promise<FileSource> {
  let artifacts!: io.ModelArtifacts;
  await model.save({
    save: (all) => (
      (artifacts = all),
      Promise.resolve({ modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' } })
    ),
  });
  const { modelTopology, weightSpecs, weightData } = artifacts;
  const json: io.ModelJSON = structuredClone({
    modelTopology: modelTopology as object,
    weightsManifest: [{ paths: ['weights.bin'], weights: weightSpecs! }],
  });
  change(json);
  return memory({ 'model.json': JSON.stringify(json), 'weights.bin': new Uint8Array(weightData as ArrayBuffer) });
}

const flat = (y?: Tensor) => reshape(y!, [-1]);

describe.each(testBackends)('a LayersModel on %s', (backend) => {
  beforeAll(() => useBackend(backend));
  const images = () => randomUniform([2, 8, 8, 3], 0, 1, 'float32', 2) as Tensor4D;

  it('has the values and the gradient that tfjs computes', async () => {
    const model = smallModel();
    const reward = await graphModel({ model: await saved(model), score: flat });
    const wanted = vjp((_, x) => flat(model.apply(x!) as Tensor), {}, [images()]);
    const got = vjp((_, x) => reward(x as Tensor4D, ['', ''], []), {}, [images()]);
    expectClose(got.value, wanted.value, 1e-6, 'scores');
    expectClose(got.inputs[0]!, wanted.inputs[0]!, 1e-6, 'gradient');
    reward.dispose();
  });

  it('takes its weights as params, and holds no tensors', async () => {
    const source = await saved(smallModel());
    const before = tfjsMemory().numTensors;
    const reward = await graphModel({ model: source, score: flat, load: false });
    expect(tfjsMemory().numTensors).toBe(before);
    expect(Object.keys(reward.model.params)).toEqual(
      expect.arrayContaining(['first/kernel', 'norm/moving_mean', 'third/depthwise_kernel', 'classes/bias']),
    );
    const loaded = await graphModel({ model: source, score: flat });
    loaded.dispose();
    expect(tfjsMemory().numTensors).toBe(before);
  });

  it('returns outputs of inner layers', async () => {
    const model = smallModel();
    const reward = await graphModel({ model: await saved(model), output: 'pool', score: [1, 0, 0] });
    const inner = (
      await loadLayersModel({ load: () => Promise.resolve({ modelTopology: model.toJSON(null, false) as object }) })
    ).layers.find(({ name }) => name === 'pool')!;
    expect(inner.outputShape).toEqual([null, 3]);
    expect(reward(images(), ['', ''], []).shape).toEqual([2]);
    reward.dispose();
  });
});

describe('a LayersModel', () => {
  beforeAll(() => useBackend('wasm'));

  it('is rejected if its weights do not match the layers', async () => {
    const source = await saved(smallModel(), ({ weightsManifest: [group] }) => {
      group!.weights.find(({ name }) => name === 'classes/bias')!.name = 'other';
      Object.assign(
        group!.weights.find(({ name }) => name === 'first/bias')!,
        { shape: [2, 2] },
      );
    });
    await expect(graphModel({ model: source, score: flat })).rejects.toThrow(
      "'first/bias' got [2, 2], expected [4]; 'classes/bias' got nothing, expected [1]",
    );
  });

  const many = 1e9;
  const padding = (pixels: number) => ({
    class_name: 'ZeroPadding2D',
    config: {
      padding: [
        [pixels, 0],
        [0, 0],
      ],
    },
  });
  it.each<[layer: string, changes: object, message: RegExp]>([
    ['classes', { units: many }, /weights of more than 260 numbers, such as the shape \[3,1000000000\]/],
    ['classes', { units: many, kernel_initializer: undefined, bias_initializer: null }, /weights of more than/],
    ['classes', { units: 2 ** 40 }, /weights of more than/],
    ['first', { filters: many }, /weights of more than/],
    ['first', { kernel_size: [many, many] }, /weights of more than/],
    ['third', { depth_multiplier: many }, /weights of more than/],
    ['first', { batch_input_shape: [null, many, many, 3] }, /'first' of 'memory\/model.json' got the sizes \[null,5/],
    [
      'first',
      { batch_input_shape: [null, 2 ** 15, 8, 3] },
      /takes the shape \[32768,8,3\], expected sizes from 1 to 16384/,
    ],
    [
      'norm',
      padding(many),
      /padding of a layer of 'memory\/model.json' got \[\[1000000000,0\],\[0,0\]\], expected 0 to 1024/,
    ],
    ['norm', padding(-1), /padding of a layer .* expected 0 to 1024/],
    ['norm', { class_name: 'UpSampling2D', config: { size: [1, many] } }, /size of a layer .* expected 0 to 64/],
    ['pool', { class_name: 'RepeatVector', config: { n: many } }, /n of a layer .* expected 0 to 65536/],
    [
      'pool',
      { class_name: 'Reshape', config: { target_shape: [many, many] } },
      /weights of more than 260 numbers, such as the shape \[1000000000,1\]/,
    ],
  ])('is rejected if the layer %s has %j', async (layer, { class_name, config, ...changes }: any, message) => {
    const source = await saved(smallModel(), ({ modelTopology }) => {
      const all = (modelTopology as any).config.layers as { class_name: string; config: { name: string } }[];
      const found = all.find((one) => one.config.name === layer)!;
      Object.assign(found.config, changes);
      if (class_name) Object.assign(found, { class_name, config: { name: layer, ...config } });
    });
    await expect(graphModel({ model: source, score: flat, load: false })).rejects.toThrow(message);
  });

  it('is rejected if the output does not exist', async () => {
    await expect(graphModel({ model: await saved(smallModel()), output: 'nothing', score: flat })).rejects.toThrow(
      'output got "nothing", expected the name of a layer',
    );
  });
});

it('importTfjs names a package that is not installed', async () => {
  await expect(importTfjs(() => Promise.reject(new Error('not found')), '@tensorflow/nowhere', "'x'")).rejects.toThrow(
    "graphModel: 'x' needs a package: the package '@tensorflow/nowhere' cannot be loaded: not found. " +
      "Run 'npm install @tensorflow/nowhere'.",
  );
});
