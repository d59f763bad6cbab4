import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { tensor, type Tensor } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import { useBackend } from '../../../backend.js';
import type { ModelFunction } from '../../../vjp.js';
import { elementCases } from '../__fixtures__/element-cases.js';
import type { KernelCase } from '../__fixtures__/kernel-case.js';
import { networkCases } from '../__fixtures__/network-cases.js';
import { tensorCases } from '../__fixtures__/tensor-cases.js';
import { encodeModel } from './encode.js';
import { constant, integers, microsoft, node, nodeOutputs, type Dtype, type Graph, type Value } from './graph.js';
import type { Precision } from '../../../precision.js';
import { optimize } from '../passes/optimize.js';
import { recordFunction, type RecordedFunction, type Spec } from '../recording/record-function.js';
import { nodeRuntime } from '../runtime/node-runtime.js';

const python = process.env.PYTHON ?? 'python3';
const run = promisify(execFile);
const nowhere = (): never => {
  throw new Error('no weights');
};

// Checks the given files and prints those that are wrong. `full_check` compares the declared shapes and types with
// those that ONNX infers.
const checker = `
import glob, sys, onnx
for path in sorted(glob.glob(sys.argv[1] + '/*.onnx')):
    try:
        onnx.checker.check_model(path, full_check=True)
        print('OK', path)
    except Exception as error:
        print('WRONG', path, error)
`;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'encode-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** Runs ONNX's own checker. Skips the test where Python's onnx is absent. */
async function check(context: TestContext, models: Readonly<Record<string, Uint8Array>>): Promise<string[]> {
  const hasOnnx = await run(python, ['-c', 'import onnx']).then(
    () => true,
    () => false,
  );
  context.skip(
    !hasOnnx,
    `${python} cannot import onnx, which checks the models. ` +
      'Install it (pip install onnx) and set PYTHON to the interpreter that has it.',
  );
  const subfolder = await mkdtemp(join(folder, 'models-'));
  for (const [name, model] of Object.entries(models)) await writeFile(join(subfolder, `${name}.onnx`), model);
  await writeFile(join(subfolder, 'weights'), new Uint8Array(4096));
  const { stdout } = await run(python, ['-c', checker, subfolder], { maxBuffer: 2 ** 26 });
  const lines = stdout.split('\n').filter((line) => /^(OK|WRONG)/.test(line));
  expect(lines).toHaveLength(Object.keys(models).length);
  return stdout
    .split('\n')
    .filter((line) => line && !line.startsWith('OK'))
    .map((line) => line.replaceAll(subfolder, ''));
}

/** Encodes a case and, if it has one, its gradient, each with a file name. */
const modelsOf =
  (precision: Precision) =>
  ({ name, inputs, op, wrt }: KernelCase, i: number): [string, Uint8Array][] => {
    const fn = ((_: unknown, ...xs: Tensor[]) => op(...xs)) as ModelFunction;
    const specs = inputs.map(({ shape, dtype }): Spec => ({ shape, dtype: dtype ?? 'float32' }));
    const indices = wrt ?? inputs.flatMap(({ dtype }, at) => (dtype ? [] : [at]));
    const encoded = (recording: RecordedFunction) =>
      encodeModel(
        { inputs: recording.graph.inputs, outputs: optimize(recording, precision, { device: 'cpu' }) },
        nowhere,
        name,
      );
    const forward = recordFunction(fn, {}, specs);
    const label = `${String(i).padStart(3, '0')} ${name.replaceAll('/', ' ')}`;
    if (indices.length === 0) return [[label, encoded(forward)]];
    const dy: Spec = { shape: forward.outputs.values[0]!.shape, dtype: 'float32' };
    return [
      [label, encoded(forward)],
      [`${label}, gradient`, encoded(recordFunction(fn, {}, specs, { wrt: indices, dy }))],
    ];
  };

const input = (name: string, shape: number[], dtype: Dtype = 'float32'): Value => ({
  shape,
  dtype,
  source: { kind: 'input', name },
});

describe("ONNX's checker accepts", () => {
  it('every recorded kernel and its gradient', async (context) => {
    const models = [...elementCases, ...tensorCases, ...networkCases].flatMap(modelsOf('float32'));
    expect(await check(context, Object.fromEntries(models))).toEqual([]);
  }, 120_000);

  it('products in float16 and their gradients', async (context) => {
    expect(await check(context, Object.fromEntries(networkCases.flatMap(modelsOf('float16'))))).toEqual([]);
  }, 120_000);

  it('weights in another file', async (context) => {
    const weight: Value = { shape: [3, 4], dtype: 'float32', source: { kind: 'weight', leaf: {} } };
    const indices: Value = { shape: [2], dtype: 'int32', source: { kind: 'weight', leaf: { integers: true } } };
    const rows = node('Gather', [weight, indices], [2, 4], { attributes: { axis: { int: 0 } } });
    const graph: Graph = { inputs: [], outputs: [rows, weight] };
    const locate = (leaf: object) => ({
      file: 'weights',
      offset: 'integers' in leaf ? 64 : 128,
      length: 'integers' in leaf ? 8 : 48,
    });
    expect(await check(context, { weights: encodeModel(graph, locate) })).toEqual([]);
    const missing = encodeModel(graph, (leaf) => ({ ...locate(leaf), file: 'elsewhere' }));
    expect((await check(context, { missing })).join()).toMatch(/elsewhere/);
  });

  it('every kind of constant and attribute', async (context) =>
    expect(await check(context, { everything: encodeModel(everything(), nowhere) })).toEqual([]));
  it('subgraphs that capture values, weights and constants', async (context) => {
    const weight: Value = { shape: [2], dtype: 'float32', source: { kind: 'weight', leaf: {} } };
    expect(
      await check(context, { scan: encodeModel(scan(weight), () => ({ file: 'weights', offset: 0, length: 8 })) }),
    ).toEqual([]);
  });
  it('no wrong model', async (context) => {
    const graph: Graph = { inputs: [input('x', [2, 3])], outputs: [node('ReduceSum', [input('x', [2, 3])], [7])] };
    const wrong: Graph = { ...graph, outputs: [node('ReduceSum', [graph.inputs[0]!, integers([1])], [7, 1])] };
    expect(await check(context, { wrong: encodeModel(wrong, nowhere) })).not.toEqual([]);
  });
});

describe('encodeModel', () => {
  it('writes models that ONNX Runtime runs: every kind of constant and attribute', async () => {
    const graph = everything();
    const model = encodeModel(graph, nowhere);
    const session = await nodeRuntime.startSession({ model, outputs: graph.outputs }, { device: 'cpu' });
    await useBackend('cpu');
    const outputs = await session.run({
      x: tensor([
        [1, -2, 3],
        [4, 5, -6],
      ]),
    });
    expect(outputs.map(({ shape, dtype }) => [dtype, ...shape])).toEqual(
      graph.outputs.map(({ shape, dtype }) => [dtype, ...shape]),
    );
    expect(outputs.map((output) => [...output.dataSync()].slice(0, 6))).toEqual([
      [1.5, 0, 2.5, 3, 3.5, -2],
      [0, 1, 0, 0, 0, 1],
      [7, 7, 7, 7, 7, 7],
      [2, 4],
      [1, -2, 3, 4, 5, -6],
    ]);
    await session.release();
  });

  it('throws if a value is used before it is made', () => {
    const stray = input('y', [2]);
    expect(() => encodeModel({ inputs: [], outputs: [stray] }, nowhere)).toThrow(
      /encodeModel: a value of kind 'input' and shape \[2\] is used before it is made/,
    );
  });
});

/**
 * A graph with constants of every dtype, small and large, uniform and not, and nodes with optional inputs and several
 * outputs.
 */
function everything(): Graph {
  const x = input('x', [2, 3]);
  const halves = node('Div', [node('Add', [x, constant(Float32Array.of(2), [])], [2, 3]), constant(2, [2, 3])], [2, 3]);
  const negative = node(
    'And',
    [node('Less', [x, constant(0, [3])], [2, 3], { dtype: 'bool' }), constant(Int32Array.of(1, 1, 1), [3], 'bool')],
    [2, 3],
    { dtype: 'bool' },
  );
  const many = node('Add', [constant(3, [40, 50], 'int32'), constant(Int32Array.of(4), [1], 'int32')], [40, 50]);
  const shape = node('Cast', [node('Add', [node('Shape', [x], [2], { dtype: 'int64' }), integers([0, 1])], [2])], [2], {
    dtype: 'int32',
    attributes: { to: { int: 6 } },
  });
  const [first, last] = nodeOutputs(
    'Split',
    [x, integers([1, 1])],
    [
      { shape: [1, 3], dtype: 'float32' },
      { shape: [1, 3], dtype: 'float32' },
    ],
    { attributes: { axis: { int: 0 } } },
  ) as [Value, Value];
  const clipped = node(
    'Clip',
    [
      node('Concat', [first, last], [2, 3], { attributes: { axis: { int: 0 } } }),
      undefined,
      constant(Float32Array.of(9), []),
    ],
    [2, 3],
  );
  return { inputs: [x], outputs: [halves, negative, many, shape, clipped] };
}

/** A Scan whose body captures values from outside. */
function scan(weight: Value): Graph {
  const [x, rows] = [input('x', [2]), input('rows', [3, 2])];
  const [state, row] = [input('scan.state', [2]), input('scan.row', [2])];
  const gelu = node('Gelu', [node('Mul', [row, weight], [2])], [2], { domain: microsoft });
  const next = node('Add', [state, node('Add', [gelu, node('Exp', [x], [2])], [2])], [2]);
  const body: Graph = {
    inputs: [state, row],
    outputs: [next, node('Mul', [next, constant(Float32Array.of(2, 3), [2])], [2])],
  };
  const outputs = nodeOutputs(
    'Scan',
    [constant(0, [2]), rows],
    [
      { shape: [2], dtype: 'float32' },
      { shape: [3, 2], dtype: 'float32' },
    ],
    { attributes: { num_scan_inputs: { int: 1 }, body: { graph: body } } },
  );
  return { inputs: [x, rows], outputs };
}
