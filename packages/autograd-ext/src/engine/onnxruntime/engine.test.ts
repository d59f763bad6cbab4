import {
  add,
  matMul,
  mul,
  ones,
  scalar,
  sum,
  tensor,
  tensor1d,
  tensor2d,
  tidy,
  variable,
  type Tensor,
  type Tensor2D,
} from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../../backend.js';
import { gelu } from '../../ops/gelu.js';
import { linear, type Matrix } from '../../ops/linear.js';
import type { Params } from '../../params.js';
import { expectNoLeaks } from '../../testing/index.js';
import { vjp, type ModelFunction } from '../../vjp.js';
import { createEngine } from '../create-engine.js';
import { OnnxRuntimeEngine, type OnnxRuntimeEngineOptions } from './engine.js';
import type { CompileProgress } from './runtime/program.js';

const compiled: CompileProgress[] = [];
const engines: OnnxRuntimeEngine[] = [];
const makeEngine = (options: OnnxRuntimeEngineOptions = {}) => {
  const engine = new OnnxRuntimeEngine({
    onCompile: (progress) => progress.seconds !== undefined && compiled.push(progress),
    ...options,
  });
  engines.push(engine);
  return engine;
};

/** Two layers; the second is trained. */
const mlp: ModelFunction = (params, x) => {
  const { first, second } = params as { first: Matrix; second: Matrix };
  return linear(gelu(linear(x!, first)), second);
};
const tree = () =>
  ({
    first: tensor2d([0.1, -0.2, 0.3, 0.4, 0.5, -0.6], [3, 2]),
    second: variable(tensor2d([1, 2, 3], [1, 3])),
  }) satisfies Params;
// Of products that multiply fewer numbers nothing is kept.
const deepTree = () => ({ first: ones([3, 100]), second: variable(tensor2d([1, 2, 3], [1, 3])) }) satisfies Params;
const deep = () => ones([2, 100]);
const close = (actual: Tensor, expected: Tensor) => {
  expect(actual.shape).toEqual(expected.shape);
  const [a, e] = [actual.dataSync(), expected.dataSync()];
  a.forEach((value, i) => expect(Math.abs(value - e[i]!)).toBeLessThanOrEqual(1e-5 * Math.max(1, Math.abs(e[i]!))));
};

describe('OnnxRuntimeEngine', () => {
  beforeAll(() => useBackend('wasm'));
  afterEach(() => {
    engines.splice(0).forEach((engine) => engine.dispose());
    compiled.length = 0;
  });
  const x = () => tensor2d([1, 2, 3, 4], [2, 2]);

  it('compiles once for each shape and set of frozen weights; trained ones may change', async () => {
    const run = makeEngine().compile(mlp);
    const params = tree();
    await run(params, x());
    params.second.assign(tensor2d([3, 2, 1], [1, 3]));
    const [changed] = await run(params, x());
    close(changed!, mlp(params, x()) as Tensor);
    expect(compiled).toHaveLength(1);
    await run(params, tensor2d([1, 2], [1, 2]));
    expect(compiled).toHaveLength(2);
    const other = { ...params, first: mul(params.first, 2) };
    const [recompiled] = await run(other, x());
    close(recompiled!, mlp(other, x()) as Tensor);
    expect(compiled).toHaveLength(3);
  });

  it('gives the gradients that tfjs gives, with ones for dy where none is given', async () => {
    const params = tree();
    const run = makeEngine().compileVjp(mlp, { wrt: [0] });
    for (const dy of [undefined, tensor2d([2, -1], [2, 1])]) {
      const [actual, expected] = [await run(params, [x()], dy), vjp(mlp, params, [x()], dy)];
      close(actual.value, expected.value);
      close(actual.inputs[0]!, expected.inputs[0]!);
      close(actual.params.second!, expected.params.second!);
    }
  });

  it('gives the same from what a forward run keeps, once or more often', async () => {
    const params = tree();
    const run = makeEngine().compileVjp(mlp, { wrt: [0] });
    const dy = tensor2d([2, -1], [2, 1]);
    const expected = vjp(mlp, params, [x()], dy);
    await expectNoLeaks(async () => {
      const [input, again] = [x(), x()];
      const [first, second] = [(await run.keep!(params, [input]))!, (await run.keep!(params, [again]))!];
      input.dispose(); // what is kept is its own
      close(first.outputs[0], expected.value);
      const gradients = [await first.backward(dy), await second.backward(dy)];
      for (const { inputs, params: trained } of gradients) {
        close(inputs[0]!, expected.inputs[0]!);
        close(trained.second!, expected.params.second!);
      }
      first.release();
      second.release();
      return [
        again,
        ...first.outputs,
        ...second.outputs,
        ...gradients.flatMap(({ inputs, params: trained }) => [...inputs, ...Object.values(trained)]),
      ];
    });
  });

  it('keeps no more than it may, and may again what was released', async () => {
    const params = deepTree();
    const bytes = (await makeEngine().compileVjp(mlp).keep!(params, [deep()]))!.bytes;
    expect(bytes).toBeGreaterThan(0);
    const run = makeEngine({ maxMemory: bytes }).compileVjp(mlp);
    const first = (await run.keep!(params, [deep()]))!;
    expect(await run.keep!(params, [deep()])).toBeUndefined();
    first.release();
    first.release();
    const second = await run.keep!(params, [deep()]);
    expect(second).toBeDefined();
    expect(await run.keep!(params, [deep()])).toBeUndefined();
  });

  it('does not keep in what runs beyond the limit have left', async () => {
    const params = deepTree();
    const run = makeEngine({ maxMemory: 0 }).compileVjp(mlp);
    await run(params, [deep()]);
    expect(await run.keep!(params, [deep()])).toBeUndefined();
  });

  it('compiles again after it was disposed', async () => {
    const engine = makeEngine();
    const run = engine.compile(mlp);
    const params = tree();
    await run(params, x());
    engine.dispose();
    const [value] = await run(params, x());
    close(value!, mlp(params, x()) as Tensor);
    expect(compiled).toHaveLength(2);
  });

  it('computes what is constant before the graph is written', async () => {
    const table: ModelFunction = (_, input) => add(input!, mul(tensor1d([1, 2]), add(tensor1d([3, 4]), 1)));
    const [value] = await makeEngine().compile(table)({}, x());
    close(value!, add(x(), tensor1d([4, 10])));
    expect(compiled.map(({ nodes }) => nodes)).toEqual([1]);
  });

  it('hands on an input, a constant and one value twice', async () => {
    const odd: ModelFunction = (_, input) => {
      const doubled = mul(input!, 2);
      return [doubled, input!, doubled, scalar(7)];
    };
    const outputs = await makeEngine().compile(odd)({}, x());
    [mul(x(), 2), x(), mul(x(), 2), scalar(7)].forEach((expected, i) => close(outputs[i]!, expected));
  });

  it('says what cannot be recorded, why and what to do', async () => {
    const reading: ModelFunction = function byValue(_, input) {
      return sum(input!).dataSync()[0]! > 0 ? input! : mul(input!, -1);
    };
    await expect(makeEngine().compile(reading)({}, x())).rejects.toThrow(
      /function 'byValue' cannot be recorded: a tensor's values are read while .* tfjs engine/,
    );
  });

  it('leaves tfjs as it was when recording fails', async () => {
    const failing: ModelFunction = () => {
      throw new TypeError('no');
    };
    await expectNoLeaks(async () => {
      const input = x();
      await expect(makeEngine().compile(failing)({}, input)).rejects.toThrow(TypeError);
      return input;
    });
    close(
      tidy(() => matMul(x(), x()) as Tensor2D),
      tensor([7, 10, 15, 22], [2, 2]),
    );
  });

  it('names the largest tensors when ONNX Runtime cannot go on', async () => {
    await expect(makeEngine({ device: 'tensorrt' }).compile(mlp)(tree(), x())).rejects.toThrow(
      /failed on tensorrt: .* Its largest tensors: .*\[2, 3\] .* device 'cpu'/s,
    );
  });
});

describe('createEngine', () => {
  it('takes ONNX Runtime where it is installed, tfjs where a backend of tfjs is asked for', async () => {
    expect((await createEngine()).name).toBe('onnxruntime');
    expect((await createEngine({ backend: 'wasm' })).name).toBe('tfjs');
    expect((await createEngine({ engine: 'onnxruntime', backend: 'wasm' })).name).toBe('onnxruntime');
    await expect(createEngine({ engine: 'torch' as never })).rejects.toThrow(
      "engine got 'torch', expected one of onnxruntime, tfjs",
    );
  });
});
