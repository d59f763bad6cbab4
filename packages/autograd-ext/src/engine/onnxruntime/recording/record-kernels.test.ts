import { readdir, readFile } from 'node:fs/promises';
import * as tf from '@tensorflow/tfjs-core';
import {
  engine,
  getBackend,
  getGradient,
  getKernelsForBackend,
  reshape,
  slice,
  type Tensor,
} from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { useBackend } from '../../../backend.js';
import { testDevices } from '../../../../../../fixtures/engines.js';
import { checkGradient } from '../../../testing/index.js';
import type { ModelFunction } from '../../../vjp.js';
import { TfjsEngine } from '../../tfjs.js';
import type { KernelCase } from '../__fixtures__/kernel-case.js';
import { difference, kernelCases, layouts, order, prepared, run, type Result } from '../__fixtures__/kernel-results.js';
import { networkCases } from '../__fixtures__/network-cases.js';
import { OnnxRuntimeEngine } from '../engine.js';
import { notRecordable } from '../recorder/not-recordable.js';
import { recordFunction, type Spec } from './record-function.js';
import { isRecordable, RecordingError, recorderName } from '../recorder/recorder.js';

const backends = ['wasm', 'cpu'] as const;

describe.each(['cpu', ...testDevices] as const)('a recorded kernel on %s', (device) => {
  const tfjs = new TfjsEngine();
  const onnxruntime = new OnnxRuntimeEngine({ threads: 1, device });
  const rounding = new OnnxRuntimeEngine({ threads: 1, device, precision: 'float16' });
  afterEach(() => [onnxruntime, rounding].forEach((engine) => engine.dispose())); // GPUs run out of sessions

  /** The cases that the device computes. */
  const on = (cases: readonly KernelCase[]) => cases.filter(({ without }) => !without?.includes(device as 'webgpu'));

  it.for(on(networkCases))('agrees with float32 when products are in float16: $name', async (kernelCase, { skip }) => {
    const { fn, wrt, make } = prepared(kernelCase, order);
    await useBackend('cpu');
    const rounded = await run(rounding, fn, make(), wrt).catch((error: unknown) => {
      skip(String(error).includes('requires f16 but the device does not support it'), 'no float16');
      throw error;
    });
    expect(difference(rounded, await run(onnxruntime, fn, make(), wrt), 1e-2, 0.1)).toBe('');
  });

  it.each(on(kernelCases))('agrees with tfjs in values and gradients: $name', async (kernelCase) => {
    for (const layout of layouts) {
      const { fn, wrt, make } = prepared(kernelCase, layout);
      const eager = prepared({ ...kernelCase, op: kernelCase.eager ?? kernelCase.op }, layout).fn;
      const results: [string, Result[]][] = [];
      for (const backend of backends.filter((name) => !kernelCase.without?.includes(name))) {
        await useBackend(backend);
        results.push([backend, await run(tfjs, eager, make(), wrt)]);
        if (layout === layouts[0] && backend === 'cpu' && wrt.length > 0) checkDifferences(kernelCase, make(), wrt);
      }
      const recorded = await run(onnxruntime, fn, make(), wrt);
      for (const [backend, expected] of results)
        expect(
          difference(recorded, expected, kernelCase.tolerance ?? 2e-5),
          `${backend}, layout ${layouts.indexOf(layout)}`,
        ).toBe('');
    }
  });
});

describe('the list of cases', () => {
  /** Names of the kernels that run while the cases and their gradients are recorded. */
  const ran = new Set<string>();

  beforeAll(() => {
    const runKernel = vi.spyOn(engine(), 'runKernel');
    for (const kernelCase of kernelCases) {
      const { fn, wrt } = prepared(kernelCase, order);
      const specs = kernelCase.inputs.map(({ shape, dtype }): Spec => ({ shape, dtype: dtype ?? 'float32' }));
      const [value] = recordFunction(fn, {}, specs).outputs.values;
      if (wrt.length > 0) recordFunction(fn, {}, specs, { wrt, dy: { shape: value!.shape, dtype: 'float32' } });
    }
    runKernel.mock.calls.forEach(([name]) => ran.add(name));
    runKernel.mockRestore();
  });

  it('covers every kernel of tfjs that is not refused for a reason', () => {
    const names = Object.entries(tf)
      .filter(([key, value]) => /^_?[A-Z]/.test(key) && key !== 'OP_SCOPE_SUFFIX' && typeof value === 'string')
      .map(([, value]) => value as unknown as string);
    expect(names.length).toBeGreaterThan(150);
    expect(names.filter((name) => !ran.has(name) && !notRecordable.has(name))).toEqual([]);
    expect(names.filter((name) => notRecordable.has(name) && isRecordable(name))).toEqual([]);
    expect([...notRecordable].filter((name) => !names.includes(name))).toEqual([]);
  });

  it('covers every kernel that has a gradient', () => {
    const names = Object.values(tf).filter(
      (value): value is any => typeof value === 'string' && getGradient(value) !== undefined,
    ) as unknown as string[];
    expect(names.length).toBeGreaterThan(90);
    expect(names.filter((name) => !ran.has(name) && !notRecordable.has(name))).toEqual([]);
  });

  it('covers every kernel that has an emitter', () => {
    const names = getKernelsForBackend(recorderName).map(({ kernelName }) => kernelName);
    expect(names.filter((name) => !ran.has(name))).toEqual([]);
  });

  it('covers every op that this package defines', async () => {
    const names = await definedOps();
    expect(names.length).toBeGreaterThan(10);
    expect(names.filter((name) => !ran.has(name))).toEqual([]);
  });
});

/** Names of the ops that this package defines. */
async function definedOps(): Promise<string[]> {
  const folder = new URL('../../../', import.meta.url);
  const files = (await readdir(folder, { recursive: true })).filter(
    (file) => file.endsWith('.ts') && !file.endsWith('.test.ts'),
  );
  const texts = await Promise.all(files.map((file) => readFile(new URL(file.replaceAll('\\', '/'), folder), 'utf8')));
  return texts.flatMap((text) => [...text.matchAll(/= defineOp<[^\n]*\(\{\s*name: '(\w+)'/g)].map(([, name]) => name!));
}

describe('a function that cannot be recorded', () => {
  const x: Spec = { shape: [4, 4], dtype: 'float32' };
  const refused = (op: (x: any) => Tensor, spec: Spec = x) => {
    function myReward(_: unknown, input: Tensor) {
      return op(input);
    }
    return expect(() => recordFunction(myReward as ModelFunction, {}, [spec]));
  };

  it.each<[string, (x: any) => Tensor, RegExp]>([
    [
      'a shape that depends on values',
      (y) => tf.unique(reshape(y, [-1])).values,
      new RegExp(
        "'myReward' cannot be recorded: it uses the kernel 'Unique', whose result has a shape that depends on values" +
          '\\. Keep all entries.*tfjs engine',
      ),
    ],
    [
      'boxes selected by score',
      (y) => tf.image.nonMaxSuppression(y, slice(reshape(y, [-1]), [0], [4]) as never, 2),
      /'NonMaxSuppressionV3', whose/,
    ],
    ['random classes', (y) => tf.multinomial(y, 2, 3), /'Multinomial', which draws random numbers/],
    ['complex numbers', (y) => tf.abs(tf.complex(y, y)), /'Complex', which works on complex numbers/],
    [
      'an unknown kernel',
      (y) => engine().runKernel('Strange', { y }) as Tensor,
      /'Strange', which cannot be recorded\. Write it with other tfjs ops, or run it on the tfjs engine/,
    ],
    [
      'reading values',
      (y) => tf.mul(y, y.dataSync()[0] as number),
      /'myReward' cannot be recorded: a tensor's values are read/,
    ],
    [
      'random noise',
      (y) => tf.add(y, tf.randomNormal([4, 4])),
      /'myReward' cannot be recorded: it draws random numbers/,
    ],
    ['dropout', (y) => tf.dropout(y, 0.5), /it draws random numbers/],
  ])('throws a RecordingError that says why: %s', (_, op, message) => {
    const { random } = Math;
    refused(op).toThrow(RecordingError);
    refused(op).toThrow(message);
    expect(Math.random).toBe(random);
    expect(getBackend()).not.toBe(recorderName);
  });
});

/** Checks the eager op, which is the reference, against finite differences. */
function checkDifferences({ op, step = 1e-2 }: KernelCase, inputs: Tensor[], wrt: readonly number[]): void {
  const first = (...xs: Tensor[]) => [op(...xs)].flat()[0] as Tensor;
  const varied = wrt.map((index) => inputs[index]!);
  if (varied.some(({ size }) => size === 0)) return;
  checkGradient((...xs) => first(...inputs.map((x, i) => (wrt.includes(i) ? xs[wrt.indexOf(i)]! : x))), varied, {
    step,
    tolerance: 1e-2,
    scale: 1e-1,
  });
  inputs.forEach((x) => x.dispose());
}
