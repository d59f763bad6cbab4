import { monitorEventLoopDelay } from 'node:perf_hooks';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import {
  add,
  gather,
  matMul,
  ones,
  tensor1d,
  tensor2d,
  variable,
  type Tensor,
  type Tensor2D,
} from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { bundleProgram } from '../../../../../../fixtures/bundle-program.js';
import { runProgram } from '../../../../../../fixtures/run-program.js';
import { temporaryFolder } from '../../../../../../fixtures/temporary-folder.js';
import { useBackend } from '../../../backend.js';
import { gelu } from '../../../ops/gelu.js';
import { linear, type Matrix } from '../../../ops/linear.js';
import { expectNoLeaks } from '../../../testing/index.js';
import { randn, random } from '../../../random.js';
import type { ModelFunction } from '../../../vjp.js';
import { OnnxRuntimeEngine } from '../engine.js';
import type { OnnxRuntimeEngineOptions } from '../options.js';
import { node, type Value } from '../graph/graph.js';
import { nodeRuntime } from './node-runtime.js';
import { isWorthProcess } from './process-runtime.js';
import { environment } from './session-process.js';

const folder = temporaryFolder();
const engines: OnnxRuntimeEngine[] = [];
const makeEngine = (options: OnnxRuntimeEngineOptions = {}) => {
  const engine = new OnnxRuntimeEngine({ ownProcess: true, ...options });
  engines.push(engine);
  return engine;
};

/** The processes that this one started and that have not ended. */
const children = (): readonly number[] =>
  readdirSync('/proc/self/task').flatMap((task) =>
    readFileSync(`/proc/self/task/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number).filter(isHost),
  );
/** Whether a process runs: one that has ended has no arguments, before the system forgets it. */
const isHost = (pid: number | string) => {
  const path = `/proc/${pid}/cmdline`;
  return existsSync(path) && readFileSync(path, 'utf8').includes('session-host.js');
};
const host = () => children()[0]!;
/** Memory of a process that is in no file, in MB. */
const anonymous = (pid: number) =>
  Number(/RssAnon:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1e3;
const until = async (condition: () => boolean) => {
  const started = performance.now();
  while (!condition()) {
    if (performance.now() - started > 60_000) throw new Error(`Not so after a minute: ${String(condition)}`);
    await setTimeout(10);
  }
};

const width = 100;
const mlp: ModelFunction = (params, x) => {
  const { first, second } = params as { first: Matrix; second: Matrix };
  return linear(gelu(linear(x!, first)), second);
};
const tree = () => ({ first: randn(random(1), [3, width]), second: variable(tensor2d([1, 2, 3], [1, 3])) });
const x = () => randn(random(2), [2, width]);
/** Most of a second of products on one thread. */
const power: ModelFunction = (params, row) => {
  const { factor } = params as Readonly<Record<string, Tensor2D>>;
  let product = add<Tensor2D>(factor!, row!);
  for (let i = 0; i < 6; i++) product = matMul(product, factor!);
  return matMul(row as Tensor2D, product);
};
const size = 1500;
const numbers = (tensors: readonly Tensor[]) => tensors.map((value) => [value.shape, [...value.dataSync()]]);

describe.runIf(process.platform === 'linux')('processRuntime', () => {
  beforeAll(() => useBackend('wasm'));
  afterEach(async () => {
    engines.splice(0).forEach((engine) => engine.dispose());
    await until(() => children().length === 0);
  });

  it('computes bit by bit the same as in this process, also from saved activations, and leaks no tensor', async () => {
    const [params, input, dy] = [tree(), x(), tensor2d([2, -1], [2, 1])];
    const compute = async (ownProcess: boolean) => {
      const run = makeEngine({ ownProcess }).compileVjp(mlp, { wrt: [0] });
      const saved = (await run.forward!(params, [input]))!;
      const all = [await run(params, [input], dy), { value: saved.outputs[0], ...(await saved.backward(dy)) }];
      saved.release();
      const tensors = all.flatMap(({ value, inputs, params: weights }) => [
        value,
        ...inputs,
        ...Object.values(weights),
      ]);
      const values = numbers(tensors);
      tensors.forEach((one) => one.dispose());
      return values;
    };
    const here = await compute(false);
    expect(children()).toEqual([]);
    await expectNoLeaks(async () => {
      const there = await compute(true);
      expect(there).toEqual(here);
      return [];
    });
    expect(children()).toHaveLength(1);
  });

  it('frees saved activations when their engine is disposed of, while another one uses the process', async () => {
    await makeEngine().compile(mlp)(tree(), x());
    const before = anonymous(host());
    const engine = makeEngine();
    const large = { first: ones([8000, 1000]), second: variable(ones([1, 8000])) };
    const saved = (await engine.compileVjp(mlp).forward!(large, [ones([2000, 1000])]))!;
    expect(saved.bytes).toBe(64e6);
    expect(anonymous(host()) - before).toBeGreaterThan(60);
    saved.release();
    engine.dispose();
    await until(() => anonymous(host()) - before < 25);
  });

  it('passes the error of a run on, and computes again', async () => {
    const pick: ModelFunction = (_, values, index) => gather(values!, index!);
    const messages = [true, false].map(async (ownProcess) => {
      const run = makeEngine({ ownProcess }).compile(pick);
      const error = await run({}, x(), tensor1d([7], 'int32')).catch((caught: unknown) => caught as Error);
      expect((await run({}, x(), tensor1d([1], 'int32')))[0]!.shape).toEqual([1, width]);
      return (error as Error).message;
    });
    const [there, here] = await Promise.all(messages);
    expect(there).toMatch(/'pick' failed on cpu: .*out of data bounds/);
    expect(there).toBe(here);
  });

  it('says how its process ended, and starts a new one after dispose', async () => {
    const engine = makeEngine();
    const run = engine.compileVjp(mlp);
    const slow = engine.compile(power);
    const [params, factor] = [tree(), { factor: ones([size, size]) as Tensor }];
    const expected = numbers(Object.values((await run(params, [x()])).params));
    const saved = (await run.forward!(params, [x()]))!;
    await slow(factor, ones([1, size]));
    const [first] = children();
    const pending = slow(factor, ones([1, size]));
    process.kill(first!, 'SIGKILL');
    const problem =
      'its process was ended by SIGKILL, as the system does if memory runs out. Call dispose() of the engine before';
    await expect(pending).rejects.toThrow(`'power' failed on cpu: ${problem}`);
    await expect(run(params, [x()])).rejects.toThrow(problem);
    await expect(saved.backward(ones([2, 1]))).rejects.toThrow(problem);
    saved.release();
    const other = makeEngine().compileVjp(mlp);
    expect(numbers(Object.values((await other(params, [x()])).params))).toEqual(expected);
    engine.dispose();
    expect(numbers(Object.values((await run(params, [x()])).params))).toEqual(expected);
    expect(children()).not.toContain(first);
  });

  it('leaves the event loop free while it computes', async () => {
    const run = makeEngine({ threads: 1 }).compile(power);
    const params = { factor: ones([size, size]) };
    await run(params, ones([1, size]));
    const delay = monitorEventLoopDelay({ resolution: 5 });
    const started = performance.now();
    delay.enable();
    await run(params, ones([1, size]));
    delay.disable();
    const took = performance.now() - started;
    expect(delay.max / 1e6).toBeLessThan(took / 4); // in this process, it is the whole run
  });

  it('leaves signals to the program that started the process, whose environment it has', async () => {
    const run = makeEngine().compile(mlp);
    await run(tree(), x());
    const [pid] = children();
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.kill(pid!, signal);
    await setTimeout(100);
    await run(tree(), x());
    expect(children()).toEqual([pid]);
    const env = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
    // glibc cuts the list there when it reads it
    expect(env).toContain('GLIBC_TUNABLES=glibc.malloc.hugetlb=1');
    expect(env).toContain(`PATH=${process.env.PATH}`);
  });

  it('writes the profile that was asked for', async () => {
    const engine = makeEngine({ profile: join(folder, 'profile') });
    await engine.compile(mlp)(tree(), x());
    engine.dispose();
    await until(() => children().length === 0);
    const [name] = readdirSync(folder).filter((file) => file.startsWith('profile'));
    expect(readFileSync(join(folder, name!), 'utf8')).toContain('Gemm');
  });

  it('ends with the program: at its end, at its exit and when it is killed, also while it computes', async () => {
    const module = await bundleProgram(
      fileURLToPath(new URL('../../../index.ts', import.meta.url)),
      join(folder, 'bundle'),
    );
    const ended = async (code: string, signal?: NodeJS.Signals) => {
      const program = `import { OnnxRuntimeEngine, useBackend } from ${JSON.stringify(module)};
        import { readFileSync } from 'node:fs';
        import * as tf from '@tensorflow/tfjs-core';
        await useBackend('cpu');
        const run = new OnnxRuntimeEngine({ ownProcess: true, threads: 1 }).compile(({ factor }, row) => {
          let product = tf.add(factor, row);
          for (let i = 0; i < 6; i++) product = tf.matMul(product, factor);
          return tf.matMul(row, product);
        });
        const compute = () => run({ factor: tf.ones([${size}, ${size}]) }, tf.ones([1, ${size}]));
        await compute();
        const pid = readFileSync('/proc/self/task/' + process.pid + '/children', 'utf8').trim();
        console.log(pid);
        ${code}`;
      const result = await runProgram(['--input-type=module', '--eval', program], [], {
        isBundled: true,
        cwd: join(folder, 'bundle'),
        onStdout: (_, child) => {
          if (signal) child.kill(signal);
        },
      });
      const started = performance.now();
      await until(() => !isHost(result.stdout.trim()));
      return {
        status: result.code,
        by: result.signal,
        stderr: result.stderr,
        isFast: performance.now() - started < 2000,
      };
    };
    const asked = 'compute(); setTimeout(() => process.exit(3), 100);';
    const results = await Promise.all([ended(''), ended(asked), ended('for (;;) await compute()', 'SIGKILL')]);
    expect(results).toEqual([
      { status: 0, by: null, stderr: '', isFast: true },
      { status: 3, by: null, stderr: '', isFast: true },
      { status: null, by: 'SIGKILL', stderr: '', isFast: true },
    ]);
  });
});

describe('isWorthProcess', () => {
  const value = (source: Value['source'], ...shape: number[]): Value => ({ shape, dtype: 'float32', source });
  const weight = (...shape: number[]) => value({ kind: 'weight', leaf: {} }, ...shape);
  const product = (a: Value, b: Value) => node('MatMul', [a, b], [a.shape[0]!, b.shape[1]!]);
  const isWorth = (input: Value, ...weights: Value[]) =>
    isWorthProcess({ inputs: [input], outputs: [weights.reduce(product, input)] });
  const input = (...shape: number[]) => value({ kind: 'input', name: 'x' }, ...shape);

  it('decides by weights, activations and inputs', () => {
    expect(isWorth(input(1, 8192), weight(8192, 8192))).toBe(true); // 256 MiB
    expect(isWorth(input(1, 8192), weight(8192, 8191))).toBe(false);
    expect(isWorth(input(8192, 1), weight(1, 8192), weight(8192, 1))).toBe(true);
    expect(isWorth(input(8192, 1), weight(1, 4000), weight(4000, 1))).toBe(false);
    expect(isWorth(input(2048, 8192), weight(8192, 8192))).toBe(true); // 64 MiB
    expect(isWorth(input(2049, 8192), weight(8192, 8192))).toBe(false);
  });
});

describe('environment', () => {
  const tunables = (given?: string) => environment({ GLIBC_TUNABLES: given, HOME: '/x' }).GLIBC_TUNABLES;

  it('adds what the user did not set', () => {
    const others = 'glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=268435456';
    expect(tunables()).toBe(`glibc.malloc.hugetlb=1:${others}`);
    expect(tunables('glibc.malloc.hugetlb=0:glibc.pthread.rseq=1')).toBe(
      `glibc.malloc.hugetlb=0:glibc.pthread.rseq=1:${others}`,
    );
    expect(environment({ HOME: '/x', ORT_DISABLE_TELEMETRY: '0' })).toMatchObject({
      HOME: '/x',
      ORT_DISABLE_TELEMETRY: '0',
    });
    expect(environment({}).ORT_DISABLE_TELEMETRY).toBe('1');
  });
});

describe('OnnxRuntimeEngine', () => {
  it('refuses a runtime that is to have a process of its own', () => {
    expect(() => new OnnxRuntimeEngine({ ownProcess: true, runtime: nodeRuntime })).toThrow(
      'ownProcess got true with a runtime, expected one of them',
    );
  });
});
