import { randomUniform, tensor2d, type Tensor, type Tensor2D } from '@tensorflow/tfjs-core';
import {
  backendNames,
  createEngine,
  devices,
  findRuntime,
  linear,
  silu,
  type BackendName,
  type Device,
  type Engine,
  type EngineOptions,
} from '@alignprop/autograd-ext';

/** An engine on a device: `onnxruntime:cpu`, `tfjs:wasm`. */
export type ProbeName = `onnxruntime:${Device}` | `tfjs:${BackendName}`;

/** The measurements of a probe. */
export interface ProbeResult {
  readonly probe: ProbeName;
  /** Speed of a float32 matrix product, in 10^9 operations a second. */
  readonly gflops: number;
  /** Cores that computed it on average; fewer than there are where other programs or few threads hold it back. */
  readonly cores: number;
}

/** The engines and devices that may work here: every tfjs backend, and the devices that ONNX Runtime was built with. */
export async function probeNames(): Promise<readonly ProbeName[]> {
  const { runtime } = await findRuntime();
  const supported = runtime?.listSupportedBackends().map(({ name }) => name) ?? [];
  return [
    ...devices.filter((device) => supported.includes(device)).map((device) => `onnxruntime:${device}` as const),
    ...backendNames.map((backend) => `tfjs:${backend}` as const),
  ];
}

/**
 * Runs a small function and its gradient, compares them with the numbers that plain loops give, and measures the speed
 * of a matrix product.
 * @throws if the engine does not start, or its numbers are wrong
 */
export async function runProbe(probe: ProbeName): Promise<ProbeResult> {
  const engine = await createEngine(engineOptions(probe));
  try {
    await checkNumbers(engine);
    return { probe, ...(await measure(engine)) };
  } finally {
    engine.dispose();
  }
}

function engineOptions(probe: ProbeName): EngineOptions {
  const [engine, part] = probe.split(':') as [string, string];
  return engine === 'tfjs'
    ? { engine, backend: part as BackendName }
    : { engine: 'onnxruntime', device: part as Device };
}

const weights = [
  [0.5, -1, 2],
  [1.5, 0.25, -0.75],
] as const;
const input = [1, -2, 0.5] as const;

/** Compares silu(W·x) and its gradient by x with loops. */
async function checkNumbers(engine: Engine): Promise<void> {
  const params = { weight: tensor2d(weights.flat(), [2, 3]) };
  const x = tensor2d([...input], [1, 3]);
  const run = engine.compileVjp((tree, value) => silu(linear(value!, (tree as typeof params).weight)), { wrt: [0] });
  const { value, inputs } = await run(params, [x]);
  const products = weights.map((row) => row.reduce((sum, w, i) => sum + w * input[i]!, 0));
  const sigmoid = (z: number) => 1 / (1 + Math.exp(-z));
  const slopes = products.map((z) => sigmoid(z) * (1 + z * (1 - sigmoid(z))));
  expectClose(
    'value',
    await value.data(),
    products.map((z) => z * sigmoid(z)),
  );
  const gradient = input.map((_, i) => weights.reduce((sum, row, j) => sum + row[i]! * slopes[j]!, 0));
  expectClose('gradient', await inputs[0]!.data(), gradient);
  for (const tensor of [value, ...inputs, x, params.weight]) tensor.dispose();
}

function expectClose(what: string, numbers: ArrayLike<number>, expected: readonly number[]): void {
  const error = Math.max(...expected.map((number, i) => Math.abs(number - numbers[i]!)));
  if (!(error < 1e-4)) throw new Error(`its ${what} is wrong: off by ${error}`);
}

/** Milliseconds for which a matrix product is repeated. */
const duration = 400;

type Speed = Pick<ProbeResult, 'gflops' | 'cores'>;

/** Multiplies square matrices, larger ones where that is quick. */
async function measure(engine: Engine): Promise<Speed> {
  const { gflops: small } = await speed(engine, 128, 1);
  return speed(engine, small > 20 ? 1024 : small > 2 ? 512 : 256, duration);
}

async function speed(engine: Engine, size: number, milliseconds: number): Promise<Speed> {
  const a = randomUniform([size, size], -1, 1);
  const weight = randomUniform([size, size], -1, 1);
  const run = engine.compile((tree, x) => linear(x!, (tree as { weight: Tensor2D }).weight));
  const once = async (): Promise<void> => {
    const [product] = (await run({ weight }, a)) as [Tensor];
    await product.data();
    product.dispose();
  };
  await once(); // compiles
  const [started, before] = [performance.now(), process.cpuUsage()];
  let runs = 0;
  do {
    await once();
    runs++;
  } while (performance.now() - started < milliseconds);
  const seconds = (performance.now() - started) / 1000;
  const { user, system } = process.cpuUsage(before);
  a.dispose();
  weight.dispose();
  return { gflops: (2 * size ** 3 * runs) / seconds / 1e9, cores: (user + system) / 1e6 / seconds };
}
