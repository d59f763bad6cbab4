import { dispose, randomNormal, tensor1d, type Tensor } from '@tensorflow/tfjs-core';
import { flatten, OnnxRuntimeEngine, useBackend, type CompileProgress } from '@alignprop/autograd-ext';
import { beforeAll, describe, expect, it } from 'vitest';
import { fixturePath } from '../../../../fixtures/index.js';
import { unetFunction } from './__fixtures__/model-functions.js';
import { UNet2DConditionModel } from './unet-2d-condition.js';

type Graph = NonNullable<CompileProgress['graph']>;
type Value = Graph['outputs'][number];
type Node = Extract<Value['source'], { kind: 'node' }>['node'];

// Images are channels-last in tfjs and channels-first in ONNX. The recorder relabels axes instead of transposing, so
// that data moves only where an operation requires an order:
// - at the inputs and outputs of the function, which are channels-last images;
// - where a transformer block reshapes an image to tokens, whose channels matrix products need side by side, and where
//   it reshapes tokens to an image.
// The gradient passes each of these places once more, in the opposite direction. It reshapes the image of a block to
// tokens two more times where it recomputes activations: in models this small, recomputing is cheaper than saving them.
describe.each(['sd15-tiny', 'sd2-tiny'])('the recorded UNet of %s', (folder) => {
  let model: UNet2DConditionModel;
  beforeAll(async () => {
    await useBackend('wasm');
    model = await UNet2DConditionModel.fromPretrained(fixturePath(`${folder}/model`), { subfolder: 'unet' });
  });

  it.each([
    ['forward', 2],
    ['gradient', 4],
  ] as const)('moves channels only at its inputs, outputs and transformer blocks: %s', async (_, moves) => {
    const nodes = nodesOf(await record(model, moves === 4));
    const blocks = Object.keys(flatten(model.params)).filter((path) =>
      /attentions\.\d+\.proj_in\.weight$/.test(path),
    ).length;
    expect(blocks).toBeGreaterThan(3);
    expect(nodes.filter(({ op }) => op === 'Conv' || op === 'ConvTranspose').length).toBeGreaterThan(20);
    const count = nodes.filter(movesChannels).length;
    expect(count).toBeGreaterThanOrEqual(2 * blocks + 2);
    expect(count).toBeLessThanOrEqual(moves * blocks + 2);
  });

  it.each([
    ['forward', false],
    ['gradient', true],
  ] as const)('has no other transpose next to a convolution: %s', async (_, withGradient) => {
    const nodes = nodesOf(await record(model, withGradient));
    const isConvolution = (node: Node | undefined) => node?.op === 'Conv' || node?.op === 'ConvTranspose';
    const before = nodes
      .filter(isConvolution)
      .map((node) => producer(node.inputs[0]))
      .filter((node) => node?.op === 'Transpose');
    const after = nodes.filter((node) => node.op === 'Transpose' && isConvolution(producer(node.inputs[0])));
    expect([...before, ...after].filter((node) => !movesChannels(node!))).toEqual([]);
  });
});

/** Whether a node transposes an image, or its flattened pixels, between channels-first and channels-last. */
function movesChannels({ op, attributes, inputs }: Node): boolean {
  const perm = attributes.perm && 'ints' in attributes.perm ? attributes.perm.ints.join() : '';
  const source = producer(inputs[0]);
  const isOfHeads = source?.op === 'MatMul' && source.outputs[0]!.shape.length === 4; // of attention, [B, heads, d, N]
  return op === 'Transpose' && !isOfHeads && ['0,3,1,2', '0,2,3,1', '0,2,1'].includes(perm);
}

/** Returns the node that computes a value, ignoring reshapes. */
function producer(value: Value | undefined): Node | undefined {
  const node = value?.source.kind === 'node' ? value.source.node : undefined;
  return node?.op === 'Reshape' ? producer(node.inputs[0]) : node;
}

async function record(model: UNet2DConditionModel, withGradient: boolean): Promise<Graph> {
  let graph: Graph | undefined;
  const engine = new OnnxRuntimeEngine({ onCompile: (progress) => (graph = progress.graph ?? graph) });
  const fn = unetFunction(model);
  const width = Number([model.config.cross_attention_dim].flat()[0]);
  // Large enough for several pixels in the innermost blocks: transposing a single pixel is a reshape.
  const inputs: Tensor[] = [randomNormal([2, 16, 16, 4]), tensor1d([500]), randomNormal([2, 7, width])];
  if (withGradient) {
    const { value, inputs: gradients } = await engine.compileVjp(fn, { wrt: [0] })(model.params, inputs);
    dispose([value, ...gradients]);
  } else dispose([...(await engine.compile(fn)(model.params, ...inputs))]);
  dispose(inputs);
  engine.dispose();
  return graph!;
}

function nodesOf({ outputs }: Graph): Node[] {
  const nodes = new Set<Node>();
  const pending: (Value | undefined)[] = [...outputs];
  while (pending.length > 0) {
    const value = pending.pop();
    if (value?.source.kind !== 'node' || nodes.has(value.source.node)) continue;
    nodes.add(value.source.node);
    pending.push(...value.source.node.inputs);
  }
  return [...nodes];
}
