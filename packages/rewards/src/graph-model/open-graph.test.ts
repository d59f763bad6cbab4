import { useBackend, vjp } from '@alignprop/autograd-ext';
import { memory } from '@alignprop/autograd-ext/weights';
import {
  add,
  concat,
  conv2d,
  depthwiseConv2d,
  leakyRelu,
  matMul,
  mean,
  prelu,
  randomUniform,
  relu6,
  reshape,
  sum,
  tensor,
  type Tensor,
  type Tensor2D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { testBackends } from '../../../../fixtures/engines.js';
import { expectClose } from '../../../../fixtures/index.js';
import { graphModel, type GraphModelOptions } from './graph-model.js';
import type { WeightSpec } from './stored-weights.js';
import type { GraphNode } from './topology.js';

// A small graph with every kind of node that tfjs fuses, and weights in every format.
const weights: [spec: WeightSpec, bytes: ArrayBufferView, values: number[]][] = [
  entry('kernel', [2, 2, 3, 4], 'uint8', (i) => (i * 37) % 256, { scale: 0.01, min: -1 }),
  entry('bias', [4], 'float32', (i) => i / 8 - 0.2),
  entry('alpha', [4], 'uint16', (i) => i * 3000, { scale: 1e-4, min: 0 }),
  entry('depth', [3, 3, 4, 1], 'float16', () => 0x3800), // 0.5
  entry('matrix', [4, 2], 'float32', (i) => Math.sin(i)),
  entry('offset', [2], 'float32', (i) => i),
  entry('shape', [2], 'int32', (i) => [-1, 4][i]!),
  entry('axes', [2], 'int32', (i) => i + 1),
];

function entry(
  name: string,
  shape: number[],
  stored: string,
  value: (i: number) => number,
  linear?: { scale: number; min: number },
): [WeightSpec, ArrayBufferView, number[]] {
  const Type = {
    uint8: Uint8Array,
    uint16: Uint16Array,
    float16: Uint16Array,
    float32: Float32Array,
    int32: Int32Array,
  }[stored]!;
  const bytes = new Type(Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => value(i)));
  const dtype = stored === 'int32' ? 'int32' : 'float32';
  const values =
    stored === 'float16'
      ? [...bytes].map(() => 0.5)
      : [...bytes].map((v) => (linear ? v * linear.scale + linear.min : v));
  return [
    { name, shape, dtype, ...(stored !== dtype && { quantization: { dtype: stored, ...linear } }) },
    bytes,
    values,
  ];
}

const text = (s: string) => ({ s: btoa(s) });
const list = (...s: string[]) => ({ list: { s: s.map((one) => btoa(one)) } });
const numbers = (...i: number[]) => ({ list: { i: i.map(String) } }) as object;
const conv = {
  strides: numbers(1, 1, 1, 1),
  padding: text('SAME'),
  dilations: numbers(1, 1, 1, 1),
  data_format: text('NHWC'),
};
const dim = (...sizes: number[]) => ({ shape: { dim: sizes.map((size) => ({ size: String(size) })) } });
const nodes: GraphNode[] = [
  { name: 'image', op: 'Placeholder', attr: { dtype: { type: 'DT_FLOAT' }, shape: dim(-1, 6, 6, 3) } },
  ...weights.map(([{ name, dtype }]): GraphNode => ({
    name,
    op: 'Const',
    attr: { dtype: { type: dtype === 'int32' ? 'DT_INT32' : 'DT_FLOAT' } },
  })),
  {
    name: 'a',
    op: '_FusedConv2D',
    input: ['image', 'kernel', 'bias', 'alpha'],
    attr: { ...conv, fused_ops: list('BiasAdd', 'Prelu'), num_args: { i: '2' } as object },
  },
  {
    name: 'b',
    op: 'FusedDepthwiseConv2dNative',
    input: ['a', 'depth', 'bias'],
    attr: { ...conv, fused_ops: list('BiasAdd', 'Relu6'), num_args: { i: '1' } as object },
  },
  { name: 'pooled', op: 'Mean', input: ['b', 'axes'], attr: { keep_dims: { b: false } as object } },
  { name: 'flat', op: 'Reshape', input: ['pooled', 'shape'] },
  {
    name: 'c',
    op: '_FusedMatMul',
    input: ['flat', 'matrix', 'offset'],
    attr: {
      fused_ops: list('BiasAdd', 'LeakyRelu'),
      num_args: { i: '1' } as object,
      leakyrelu_alpha: { f: 0.3 },
      transpose_a: { b: false } as object,
      transpose_b: { b: false } as object,
    },
  },
  { name: 'Identity', op: 'Identity', input: ['c'] },
  { name: 'loop', op: 'While', input: ['c'] },
];

function source(change: (json: any, files: Record<string, Uint8Array | string>) => void = () => {}) {
  const all = Buffer.concat(
    weights.map(
      ([, { buffer, byteOffset, byteLength }]) => new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength),
    ),
  );
  const files: Record<string, Uint8Array | string> = {
    'one.bin': new Uint8Array(all.subarray(0, 100)),
    'two.bin': new Uint8Array(all.subarray(100)),
  }; // within 'depth'
  const json = {
    modelTopology: { node: structuredClone(nodes), versions: {} },
    signature: { outputs: { logits: { name: 'Identity:0' } } },
    weightsManifest: [{ paths: ['one.bin', 'two.bin'], weights: structuredClone(weights.map(([spec]) => spec)) }],
  };
  change(json, files);
  return memory({ ...files, 'model.json': JSON.stringify(json) });
}

const value = (name: string) => {
  const [spec, , values] = weights.find(([{ name: own }]) => own === name)!;
  return tensor(values, [...spec.shape]);
};

function expected(images: Tensor4D): Tensor {
  const a = prelu(add(conv2d(images, value('kernel') as Tensor4D, 1, 'same'), value('bias')), value('alpha'));
  const b = relu6(add(depthwiseConv2d(a as Tensor4D, value('depth') as Tensor4D, 1, 'same'), value('bias')));
  return leakyRelu(
    add(matMul(reshape(mean(b, [1, 2]), [-1, 4]) as Tensor2D, value('matrix') as Tensor2D), value('offset')),
    0.3,
  );
}

const first: GraphModelOptions['score'] = [1, -2];

describe.each(testBackends)('a GraphModel on %s', (backend) => {
  beforeAll(() => useBackend(backend));
  const images = () => randomUniform([2, 6, 6, 3], 0, 1, 'float32', 2) as Tensor4D;

  it.each([
    ['by index', 0],
    ['by its name in the signature', 'logits'],
    ['by the name of a node', 'c'],
  ])('has the values and the gradient of its nodes, for an output given %s', async (_, output) => {
    const reward = await graphModel({ model: source(), output, score: first });
    const wanted = vjp((__, x) => scores(expected(x as Tensor4D)), {}, [images()]);
    const got = vjp((__, x) => reward(x as Tensor4D, ['', ''], []), {}, [images()]);
    expectClose(got.value, wanted.value, 1e-6, 'scores');
    expectClose(got.inputs[0]!, wanted.inputs[0]!, 1e-6, 'gradient');
    reward.dispose();
  });

  it('passes several outputs to the score function', async () => {
    const reward = await graphModel({
      model: source(),
      output: ['logits', 'pooled'],
      score: (logits, pooled) => sum(concat([logits!, pooled!], 1), 1),
    });
    expect(reward(images(), ['', ''], []).shape).toEqual([2]);
    reward.dispose();
  });

  it('runs for each image if the model takes no batch', async () => {
    const alone = await graphModel({
      model: source((json) => (json.modelTopology.node[0].attr.shape = dim(1, 6, 6, 3))),
      score: first,
    });
    const together = await graphModel({ model: source(), score: first });
    expectClose(alone(images(), ['', ''], []), together(images(), ['', ''], []), 1e-6, 'scores');
    [alone, together].forEach((reward) => reward.dispose());
  });
});

const scores = (y: Tensor) => sum(matMul(y as Tensor2D, tensor([[1], [-2]]) as Tensor2D), -1);

it.each<[string, Parameters<typeof source>[0], Partial<GraphModelOptions>, string]>([
  ['a missing shard', (_, files) => delete files['two.bin'], {}, "there is no file 'memory/two.bin'"],
  [
    'a truncated shard',
    (_, files) => (files['two.bin'] = files['two.bin']!.slice(4) as Uint8Array),
    {},
    /one.bin, two.bin beside 'memory\/model.json' got \d+ bytes, expected \d+/ as never,
  ],
  ['weights that are not listed', (json) => (json.weightsManifest = []), {}, 'lacks weights: kernel, bias'],
  [
    'weights of strings',
    (json) => (json.weightsManifest[0].weights[1].dtype = 'string'),
    {},
    "'bias' of string, expected float32",
  ],
  [
    'batches of three',
    (json) => (json.modelTopology.node[0].attr.shape = dim(3, 6, 6, 3)),
    {},
    'takes batches of 3 images',
  ],
  [
    'images with more pixels than any has',
    (json) => (json.modelTopology.node[0].attr.shape = dim(-1, 1e9, 6, 3)),
    {},
    "'memory/model.json' takes the shape [1000000000,6,3], expected sizes from 1 to 16384",
  ],
  [
    'a weight of a negative size',
    (json) => (json.weightsManifest[0].weights[1].shape = [-4]),
    {},
    'weightsManifest of \'memory/model.json\' got {"paths":["one.bin","two.bin"]',
  ],
  ['a node without a name', (json) => delete json.modelTopology.node[3].name, {}, "node of 'memory/model.json' got {"],
  ...['BroadcastTo', 'MirrorPad', 'OneHot', 'Pad', 'Range', 'ResizeBilinear', 'Tile'].map(
    (op): [string, Parameters<typeof source>[0], Partial<GraphModelOptions>, string] => [
      `an operation ${op} whose output would be too large`,
      (json, files) => {
        const [two] = [Buffer.from(files['two.bin'] as Uint8Array)];
        two.writeInt32LE(1e9, two.length - 16); // the constant `shape`
        files['two.bin'] = new Uint8Array(two);
        json.modelTopology.node.find(({ name }: GraphNode) => name === 'flat').op = op;
      },
      {},
      "'flat' of 'memory/model.json' got the sizes [1000000000,4], expected at most 268435456 numbers",
    ],
  ),
  ['control flow', undefined, { output: 'loop' }, 'got While, expected no control flow'],
  [
    'two inputs',
    (json) =>
      Object.assign(
        json.modelTopology.node.find(({ name }: GraphNode) => name === 'offset'),
        { op: 'Placeholder' },
      ),
    {},
    'got 2 inputs for these outputs (image, offset)',
  ],
])('graphModel rejects %s', async (_, change, options, message) => {
  await expect(graphModel({ model: source(change), score: first, ...options })).rejects.toThrow(message);
});
