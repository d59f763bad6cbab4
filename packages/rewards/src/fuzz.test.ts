import { readFileSync } from 'node:fs';
import { useBackend } from '@alignprop/autograd-ext';
import { memory } from '@alignprop/autograd-ext/weights';
import { beforeAll, describe } from 'vitest';
import { fuzz, fuzzedFile } from '../../../fixtures/fuzz.js';
import { fixturePath } from '../../../fixtures/index.js';
import { graphModel } from './graph-model/graph-model.js';
import { BertTokenizer } from './image-reward/bert-tokenizer.js';

/** A LayersModel: one convolution, its mean, and a class. */
const layersModel = {
  modelTopology: {
    class_name: 'Sequential',
    config: {
      name: 'small',
      layers: [
        {
          class_name: 'Conv2D',
          config: {
            name: 'first',
            batch_input_shape: [null, 4, 4, 3],
            filters: 2,
            kernel_size: [1, 1],
            use_bias: true,
          },
        },
        {
          class_name: 'ZeroPadding2D',
          config: {
            name: 'border',
            padding: [
              [1, 1],
              [1, 1],
            ],
          },
        },
        { class_name: 'GlobalAveragePooling2D', config: { name: 'mean' } },
        { class_name: 'Dense', config: { name: 'class', units: 1, activation: 'sigmoid', kernel_initializer: null } },
      ],
    },
  },
  weightsManifest: [
    {
      paths: ['weights.bin'],
      weights: [
        { name: 'first/kernel', shape: [1, 1, 3, 2], dtype: 'float32' },
        { name: 'first/bias', shape: [2], dtype: 'float32', quantization: { dtype: 'float32', scale: 1, min: 0 } },
        { name: 'class/kernel', shape: [2, 1], dtype: 'float32' },
        { name: 'class/bias', shape: [1], dtype: 'float32' },
      ],
    },
  ],
};

/** A GraphModel: an image with a border, times a number, and its mean. */
const graph = {
  modelTopology: {
    node: [
      {
        name: 'image',
        op: 'Placeholder',
        attr: {
          dtype: { type: 'DT_FLOAT' },
          shape: { shape: { dim: [{ size: '-1' }, { size: '4' }, { size: '3' }] } },
        },
      },
      { name: 'border', op: 'Const', attr: { dtype: { type: 'DT_INT32' } } },
      { name: 'scale', op: 'Const', attr: { dtype: { type: 'DT_FLOAT' } } },
      { name: 'axes', op: 'Const', attr: { dtype: { type: 'DT_INT32' } } },
      { name: 'padded', op: 'Pad', input: ['image', 'border'] },
      { name: 'scaled', op: 'Mul', input: ['padded', 'scale'] },
      { name: 'mean', op: 'Mean', input: ['scaled', 'axes'], attr: { keep_dims: { b: false } } },
    ],
    versions: { producer: 1 },
  },
  signature: { outputs: { score: { name: 'mean:0' } } },
  weightsManifest: [
    {
      paths: ['weights.bin'],
      weights: [
        { name: 'border', shape: [3, 2], dtype: 'int32' },
        { name: 'scale', shape: [3], dtype: 'float32' },
        { name: 'axes', shape: [2], dtype: 'int32' },
      ],
    },
  ],
};

describe('readers of rewards', () => {
  beforeAll(() => useBackend('wasm'));

  for (const [name, model] of Object.entries({ LayersModel: layersModel, GraphModel: graph }))
    fuzz({
      reader: `the model.json of a ${name}`,
      seeds: [JSON.stringify(model)],
      read: async (bytes) => {
        const shard = new Uint8Array(44);
        (
          await graphModel({ model: memory({ 'model.json': bytes, 'weights.bin': shard }, fuzzedFile), score: [1] })
        ).dispose();
      },
    });
  fuzz({
    reader: "BERT's vocab.txt",
    seeds: [readFileSync(fixturePath('reward-imagereward/vocab.txt'))],
    read: async (bytes) => {
      const source = memory({ 'vocab.txt': bytes }, fuzzedFile);
      const tokenizer = await BertTokenizer.fromPretrained(source, { additionalTokens: ['[DEC]'] });
      tokenizer.encode(['a crab, constructor __proto__ 猫 déjà'], { maxLength: 9 });
    },
  });
});
