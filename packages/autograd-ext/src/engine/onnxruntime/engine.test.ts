import {
  add,
  matMul,
  mul,
  ones,
  relu,
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
import { randn, random } from '../../random.js';
import { expectNoLeaks } from '../../testing/index.js';
import { vjp, type ModelFunction } from '../../vjp.js';
import { createEngine } from '../create-engine.js';
import type { SavedForward } from '../engine.js';
import { processBytes } from '../memory-budget.js';
import { OnnxRuntimeEngine } from './engine.js';
import type { OnnxRuntimeEngineOptions } from './options.js';
import { nodeRuntime } from './runtime/node-runtime.js';
import type { CompileProgress } from './runtime/program.js';
import type { OnnxRuntime } from './runtime/runtime.js';

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

/** Two layers, of which the second is trainable. */
const mlp: ModelFunction = (params, x) => {
  const { first, second } = params as { first: Matrix; second: Matrix };
  return linear(gelu(linear(x!, first)), second);
};
const tree = () =>
  ({
    first: tensor2d([0.1, -0.2, 0.3, 0.4, 0.5, -0.6], [3, 2]),
    second: variable(tensor2d([1, 2, 3], [1, 3])),
  }) satisfies Params;
// Products with a shorter inner dimension are recomputed instead of saved.
const deepTree = () => ({ first: ones([3, 100]), second: variable(tensor2d([1, 2, 3], [1, 3])) }) satisfies Params;
const deep = () => ones([2, 100]);
/** A layer whose weights take 64 MiB. */
const side = 4096;
const large = 4 * side * side;
const square = (factor: number) => ({ weight: mul(ones([side, side]), factor / side), scale: variable(scalar(1)) });
const layer: ModelFunction = (params, x) => {
  const { weight, scale: factor } = params as { weight: Matrix; scale: Tensor };
  return mul(gelu(linear(x!, weight)), factor);
};
const other: ModelFunction = (params, x) => mul(layer(params, x!) as Tensor, 2);
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

  it('compiles once per input shape and set of frozen weights; trainable weights may change', async () => {
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

  it('computes the same gradients as tfjs, and uses ones if dy is omitted', async () => {
    const params = tree();
    const run = makeEngine().compileVjp(mlp, { wrt: [0] });
    for (const dy of [undefined, tensor2d([2, -1], [2, 1])]) {
      const [actual, expected] = [await run(params, [x()], dy), vjp(mlp, params, [x()], dy)];
      close(actual.value, expected.value);
      close(actual.inputs[0]!, expected.inputs[0]!);
      close(actual.params.second!, expected.params.second!);
    }
  });

  it('computes the same gradients from saved activations, also for two forward runs at once', async () => {
    const params = tree();
    const run = makeEngine().compileVjp(mlp, { wrt: [0] });
    const dy = tensor2d([2, -1], [2, 1]);
    const expected = vjp(mlp, params, [x()], dy);
    await expectNoLeaks(async () => {
      const [input, again] = [x(), x()];
      const [first, second] = [(await run.forward!(params, [input]))!, (await run.forward!(params, [again]))!];
      input.dispose(); // the saved forward run has its own copy
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

  it.each([
    { what: 'with inputs', params: deepTree, inputs: () => [deep()], fn: mlp },
    {
      what: 'without inputs',
      params: () => ({ ...deepTree(), x: variable(deep()) }),
      inputs: () => [],
      fn: (all: Params) => mlp(all, (all as { x: Tensor }).x),
    },
  ])('saves activations up to the limit, and again after a release: a function $what', async (example) => {
    const params = example.params();
    const room = 4000;
    const maxMemory = processBytes + 4 * params.first.size + room;
    const run = makeEngine({ maxMemory }).compileVjp(example.fn as ModelFunction);
    const saved: SavedForward[] = [];
    const fill = async () => {
      for (;;) {
        const next = await run.forward!(params, example.inputs());
        if (!next) return;
        saved.push(next);
      }
    };
    await fill();
    const { bytes } = saved[0]!;
    expect(saved.length * bytes).toBeLessThanOrEqual(room);
    expect(saved.length * bytes).toBeGreaterThan(room / 2);
    saved[0]!.release();
    saved[0]!.release();
    const before = saved.length;
    await fill();
    expect(saved).toHaveLength(before + 1);
  });

  it('cuts the gradient into segments where memory is short, and computes the same', async () => {
    const [x, dy] = [randn(random(1), [16, 128]), randn(random(2), [16, 128])];
    const params = Object.fromEntries(
      Array.from({ length: 12 }, (_, i) => {
        const weight = randn(random(3 + i), [128, 128]);
        return [`layer${i}`, i % 5 === 2 ? variable(weight) : weight];
      }),
    );
    // The first half of the layers is read again by the second half, as in a UNet.
    const ladder: ModelFunction = (all, input) => {
      const layers = Object.values(all as Record<string, Matrix>);
      const skips: Tensor[] = [];
      return layers.reduce((h: Tensor, layer, i) => {
        if (i < 6) skips.push(h);
        return gelu(mul(0.1, linear(i < 6 ? h : add(h, skips.pop()!), layer)));
      }, input!);
    };
    const bytes = 4 * 128 * 128 * 10;
    const roomy = makeEngine().compileVjp(ladder, { wrt: [0] });
    const short = makeEngine({ maxMemory: processBytes + bytes + 2.2e5 }).compileVjp(ladder, { wrt: [0] });
    const [expected, actual] = [await roomy(params, [x], dy), await short(params, [x], dy)];
    const [saved, fewer] = [(await roomy.forward!(params, [x]))!, (await short.forward!(params, [x]))!];
    const again = await fewer.backward(dy);
    expect(compiled.filter(({ name }) => name.includes('backward')).map(({ name }) => name)).toEqual([
      'ladder, with its gradient: backward',
      ...[1, 2, 3, 4, 5, 6].map((i) => `ladder, with its gradient: backward ${i} of 6`),
    ]);
    expect(fewer.bytes).toBeLessThan(saved.bytes);
    close(actual.value, expected.value);
    for (const { inputs, params: trained } of [actual, again]) {
      close(inputs[0]!, expected.inputs[0]!);
      expect(Object.keys(trained)).toEqual(['layer2', 'layer7']);
      Object.entries(trained).forEach(([path, gradient]) => close(gradient, expected.params[path]!));
    }
  });

  it.each([
    { what: 'keeps all sessions where there is room', room: 3 * large, ownProcess: false, isEnded: false },
    { what: 'ends sessions to make room', room: 1.5 * large, ownProcess: false, isEnded: true },
    { what: 'ends sessions in a process of their own', room: 1.5 * large, ownProcess: true, isEnded: true },
  ])('$what, and what a function has saved stays', async ({ room, ownProcess, isEnded }) => {
    const engine = makeEngine({ maxMemory: processBytes + room, ownProcess });
    const [trained, frozen] = [square(0.5), square(0.25)];
    const row = ones([1, side]);
    const [run, scale] = [engine.compileVjp(layer, { wrt: [0] }), engine.compile(other)];
    const saved = (await run.forward!(trained, [row]))!;
    const scaled = await scale(frozen, row);
    const { inputs } = await saved.backward(ones([1, side]));
    close(inputs[0]!, vjp(layer, trained, [row], ones([1, side])).inputs[0]!);
    close((await scale(frozen, row))[0]!, scaled[0]!);
    saved.release();
    expect(compiled.map(({ name }) => name)).toEqual([
      'layer, with its gradient: forward',
      'other',
      'layer, with its gradient: backward',
      ...(isEnded ? ['other'] : []),
    ]);
  });

  it('does not save activations in memory that a run beyond the limit left', async () => {
    const params = deepTree();
    const run = makeEngine({ maxMemory: 0 }).compileVjp(mlp);
    await run(params, [deep()]);
    expect(await run.forward!(params, [deep()])).toBeUndefined();
  });

  it.each([
    { what: 'computes again what it gave up for a run that needs the memory', room: 2e5, forwardRuns: 2 },
    { what: 'gives up nothing that fits beside a run', room: 2e6, forwardRuns: 1 },
  ])('$what', async ({ room, forwardRuns }) => {
    const runs: number[] = [];
    const startSession: OnnxRuntime['startSession'] = async (...args) => {
      const session = await nodeRuntime.startSession(...args);
      const index = runs.push(0) - 1;
      return { ...session, run: (...feeds) => (runs[index]!++, session.run(...feeds)) };
    };
    const engine = makeEngine({ maxMemory: processBytes + room, runtime: { ...nodeRuntime, startSession } });
    const wide: ModelFunction = (_, column) => relu(mul(column!, ones([1, 1000])));
    const [params, dy] = [deepTree(), ones([2, 1])];
    const expected = vjp(mlp, params, [deep()], dy).inputs[0]!;
    await expectNoLeaks(async () => {
      const [input, column] = [deep(), ones([200, 1])];
      const saved = (await engine.compileVjp(mlp, { wrt: [0] }).forward!(params, [input]))!;
      const outputs = await engine.compile(wide)({}, column); // 0.8 MB
      const { inputs, params: trained } = await saved.backward(dy);
      close(inputs[0]!, expected);
      expect(runs[0]).toBe(forwardRuns);
      saved.release();
      return [input, column, ...saved.outputs, ...outputs, ...inputs, ...Object.values(trained)];
    });
  });

  it.each([false, true])(
    'keeps what a function saved when it is compiled again, in its own process: %o',
    async (own) => {
      let factor = 2;
      const scaled: ModelFunction = (params, x) => mul(mlp(params, x!) as Tensor, factor);
      const run = makeEngine({ ownProcess: own }).compileVjp(scaled, { wrt: [0], refresh: true });
      const [params, dy] = [deepTree(), ones([2, 1])];
      const expected = vjp(scaled, params, [deep()]);
      const first = (await run.forward!(params, [deep()]))!;
      factor = 3;
      const second = (await run.forward!(params, [deep()]))!;
      const { inputs } = await first.backward(dy);
      close(inputs[0]!, expected.inputs[0]!);
      [first, second].forEach((saved) => saved.release());
    },
  );

  it('compiles again after dispose', async () => {
    const engine = makeEngine();
    const run = engine.compile(mlp);
    const params = tree();
    await run(params, x());
    engine.dispose();
    const [value] = await run(params, x());
    close(value!, mlp(params, x()) as Tensor);
    expect(compiled).toHaveLength(2);
  });

  it('folds constants before it compiles the graph', async () => {
    const table: ModelFunction = (_, input) => add(input!, mul(tensor1d([1, 2]), add(tensor1d([3, 4]), 1)));
    const [value] = await makeEngine().compile(table)({}, x());
    close(value!, add(x(), tensor1d([4, 10])));
    expect(compiled.map(({ nodes }) => nodes)).toEqual([1]);
  });

  it('returns an input, a constant and one value twice as outputs', async () => {
    const odd: ModelFunction = (_, input) => {
      const doubled = mul(input!, 2);
      return [doubled, input!, doubled, scalar(7)];
    };
    const outputs = await makeEngine().compile(odd)({}, x());
    [mul(x(), 2), x(), mul(x(), 2), scalar(7)].forEach((expected, i) => close(outputs[i]!, expected));
  });

  it('explains why a function cannot be recorded and what to do', async () => {
    const reading: ModelFunction = function byValue(_, input) {
      return sum(input!).dataSync()[0]! > 0 ? input! : mul(input!, -1);
    };
    await expect(makeEngine().compile(reading)({}, x())).rejects.toThrow(
      /function 'byValue' cannot be recorded: a tensor's values are read while .* tfjs engine/,
    );
  });

  it('restores tfjs when recording fails', async () => {
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

  it('names the largest tensors when ONNX Runtime fails', async () => {
    await expect(makeEngine({ device: 'tensorrt' }).compile(mlp)(tree(), x())).rejects.toThrow(
      /failed on tensorrt: .* Its largest tensors: .*\[2, 3\] .* device 'cpu'/s,
    );
  });
});

describe('createEngine', () => {
  it('chooses ONNX Runtime if it is installed, and tfjs if a tfjs backend is given', async () => {
    expect((await createEngine()).name).toBe('onnxruntime');
    expect((await createEngine({ backend: 'wasm' })).name).toBe('tfjs');
    expect((await createEngine({ engine: 'onnxruntime', backend: 'wasm' })).name).toBe('onnxruntime');
    await expect(createEngine({ engine: 'torch' as never })).rejects.toThrow(
      "engine got 'torch', expected one of onnxruntime, tfjs",
    );
  });
});
