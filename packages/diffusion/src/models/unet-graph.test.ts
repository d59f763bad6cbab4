import { dispose, randomNormal, tensor1d, type Tensor, type Tensor3D, type Tensor4D } from '@tensorflow/tfjs-core';
import {
  flatten,
  OnnxRuntimeEngine,
  useBackend,
  type CompileProgress,
  type ModelFunction,
} from '@alignprop/autograd-ext';
import { beforeAll, describe, expect, it } from 'vitest';
import { fixturePath } from '../../../../fixtures/index.js';
import { unet2DCondition, UNet2DConditionModel } from './unet-2d-condition.js';

type Graph = NonNullable<CompileProgress['graph']>;
type Value = Graph['outputs'][number];
type Node = Extract<Value['source'], { kind: 'node' }>['node'];

// Images have channels last in tfjs and first in ONNX. The recorder relabels axes where tfjs means them to move, so
// that data moves only where something insists on an order:
// - at the borders: the function takes and returns images with channels last;
// - where a transformer block takes an image for tokens, since matrix products want each token's channels side by side,
//   and where it hands tokens back as an image.
// The gradient passes each of these places once more, the other way round, and takes the image of a block for tokens
// twice again, where what came of it is computed again: these models are small, and keep no product of few channels.
describe.each(['sd15-tiny', 'sd2-tiny'])('the recorded UNet of %s', (folder) => {
  let model: UNet2DConditionModel;
  beforeAll(async () => {
    await useBackend('wasm');
    model = await UNet2DConditionModel.fromPretrained(fixturePath(`${folder}/model`), { subfolder: 'unet' });
  });

  it.each([
    ['forward', 2],
    ['its gradient', 4],
  ] as const)('moves channels at its borders and where images become tokens alone: %s', async (_, moves) => {
    const nodes = nodesOf(await recorded(model, moves === 4));
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
    ['its gradient', true],
  ] as const)('has no transpose beside a convolution but these: %s', async (_, withGradient) => {
    const nodes = nodesOf(await recorded(model, withGradient));
    const isConvolution = (node: Node | undefined) => node?.op === 'Conv' || node?.op === 'ConvTranspose';
    const before = nodes
      .filter(isConvolution)
      .map((node) => maker(node.inputs[0]))
      .filter((node) => node?.op === 'Transpose');
    const after = nodes.filter((node) => node.op === 'Transpose' && isConvolution(maker(node.inputs[0])));
    expect([...before, ...after].filter((node) => !movesChannels(node!))).toEqual([]);
  });
});

/** Whether a node brings the channels of an image, or of its pixels in a row, to the front or to the end. */
function movesChannels({ op, attributes, inputs }: Node): boolean {
  const perm = attributes.perm && 'ints' in attributes.perm ? attributes.perm.ints.join() : '';
  const source = maker(inputs[0]);
  const isOfHeads = source?.op === 'MatMul' && source.outputs[0]!.shape.length === 4; // attention's, [B, heads, d, N]
  return op === 'Transpose' && !isOfHeads && ['0,3,1,2', '0,2,3,1', '0,2,1'].includes(perm);
}

/** What makes a value, reshapes left out. */
function maker(value: Value | undefined): Node | undefined {
  const node = value?.source.kind === 'node' ? value.source.node : undefined;
  return node?.op === 'Reshape' ? maker(node.inputs[0]) : node;
}

async function recorded(model: UNet2DConditionModel, withGradient: boolean): Promise<Graph> {
  let graph: Graph | undefined;
  const engine = new OnnxRuntimeEngine({ onCompile: (progress) => (graph = progress.graph ?? graph) });
  const fn: ModelFunction = (params, sample, timestep, context) =>
    unet2DCondition(model.config, params, sample as Tensor4D, timestep!, context as Tensor3D);
  const width = Number([model.config.cross_attention_dim].flat()[0]);
  // Large enough that the innermost blocks see several pixels: one alone has no order.
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
