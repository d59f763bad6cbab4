import {
  engine,
  getKernel,
  getKernelsForBackend,
  KernelBackend,
  registerBackend,
  registerKernel,
  tidy,
  type BackendValues,
  type DataId,
  type DataType,
  type Tensor,
  type TensorInfo,
} from '@tensorflow/tfjs-core';
import { constant, type Dtype, type Value } from '../graph/graph.js';
import { reasonAgainst } from './not-recordable.js';
import { dtypeOf, plainView, type View } from './view.js';
import { elementCount } from '../../../params.js';

/** The name of the recording backend in tfjs's registry. Each copy of this package in a process has its own. */
export const recorderName = freeName('alignprop-recorder');

/** Adds a number to a name if another copy has registered kernels under it. */
function freeName(name: string, number = 1): string {
  const numbered = number === 1 ? name : `${name}-${number}`;
  return getKernelsForBackend(numbered).length === 0 ? numbered : freeName(name, number + 1);
}

/** Thrown when a function cannot be recorded. The message says why and what to do. */
export class RecordingError extends Error {
  override readonly name = 'RecordingError';
}

/**
 * Adds the nodes of one kernel to the graph and returns the views of its outputs. A list of tensors arrives as
 * `inputs['0']`, `inputs['1']` …, as in tfjs.
 */
export type KernelEmitter<A = Record<string, never>> = (
  inputs: Readonly<Record<string, View>>,
  attrs: A,
) => View | readonly View[];

/** A tfjs backend whose kernels compute nothing and add nodes to a graph. Its data are views. */
class RecorderBackend extends KernelBackend {
  readonly #views = new WeakMap<DataId, View>();
  readonly #references = new WeakMap<DataId, number>();
  #count = 0;

  /** Makes tensor data of a view. */
  store(view: View): TensorInfo {
    const dataId = {};
    this.#views.set(dataId, view);
    this.#references.set(dataId, 1);
    this.#count++;
    return { dataId, shape: [...view.shape], dtype: dtypeOf(view) as DataType };
  }

  /** The view of a tensor. A tensor of another backend, captured by the function, becomes a constant. */
  view(info: TensorInfo): View {
    const recorded = this.#views.get(info.dataId);
    if (recorded) return recorded;
    const values = engine().state.tensorInfo.get(info.dataId)!.backend.readSync(info.dataId) as Float32Array;
    const view = constantView(values.slice(), info.shape, info.dtype);
    this.#views.set(info.dataId, view);
    return view;
  }

  override write(values: BackendValues, shape: number[], dtype: DataType): DataId {
    return this.store(constantView(values as Float32Array, shape, dtype)).dataId;
  }

  override readSync(dataId: DataId): BackendValues {
    const view = this.#views.get(dataId);
    const source = view?.value.source;
    if (source?.kind === 'constant' && typeof source.data !== 'number') return source.data;
    if (source?.kind === 'constant') return new Float32Array(elementCount(view!.shape)).fill(source.data as number);
    throw new RecordingError(
      "a tensor's values are read while the function is recorded, when there are none yet. Keep the function free of " +
        'dataSync(), data(), arraySync() and of branches on values, or run it on the tfjs engine.',
    );
  }

  override read(dataId: DataId): Promise<BackendValues> {
    return Promise.resolve(this.readSync(dataId));
  }

  override refCount = (dataId: DataId): number => this.#references.get(dataId) ?? 0;
  override incRef = (dataId: DataId): void => void this.#references.set(dataId, this.refCount(dataId) + 1);
  override numDataIds = (): number => this.#count;
  override memory = () => ({ unreliable: true, reasons: [] });
  override floatPrecision = (): 32 => 32;
  override epsilon = (): number => 1e-7;
  override dispose(): void {}

  override disposeData(dataId: DataId): boolean {
    const left = this.refCount(dataId) - 1;
    this.#references.set(dataId, left);
    if (left > 0) return false;
    this.#count--;
    return true;
  }
}

function constantView(values: BackendValues, shape: readonly number[], dtype: DataType): View {
  if (dtype === 'string' || dtype === 'complex64')
    throw new RecordingError(
      `a tensor of dtype ${dtype} is used, expected float32, int32 or bool. Run the function on the tfjs engine.`,
    );
  const numbers = values as Float32Array | Int32Array;
  const first = numbers[0] ?? 0;
  const isUniform = numbers.length > 1 && numbers.every((value) => value === first);
  const data = isUniform ? first : dtype === 'float32' ? Float32Array.from(numbers) : Int32Array.from(numbers);
  return plainView(constant(data, shape, dtype as Dtype));
}

const backend = new RecorderBackend();

/** Registers how a kernel of tfjs or of this package becomes ONNX nodes. */
export function registerKernelEmitter<A>(kernelName: string, emit: KernelEmitter<A>): void {
  registerKernel({
    kernelName,
    backendName: recorderName,
    kernelFunc: ({ inputs, attrs }) => {
      const views = Object.fromEntries(
        Object.entries(inputs)
          .filter(([, info]) => info)
          .map(([name, info]) => [name, backend.view(info as TensorInfo)]),
      );
      const outputs = emit(views, attrs as unknown as A);
      return Array.isArray(outputs) ? outputs.map((view: View) => backend.store(view)) : backend.store(outputs as View);
    },
  });
}

/** Registers a kernel as a composition of other tfjs ops, whose kernels are recorded in its place. */
export function registerDecomposition<A>(
  kernelName: string,
  decompose: (inputs: Readonly<Record<string, Tensor>>, attrs: A) => Tensor,
): void {
  registerKernel({
    kernelName,
    backendName: recorderName,
    kernelFunc: ({ inputs, attrs }) =>
      tidy(() => decompose(inputs as unknown as Record<string, Tensor>, attrs as unknown as A)),
  });
}

/** Makes a tensor that stands for a value of the graph. */
export function placeholder(value: Value): Tensor {
  return engine().makeTensorFromTensorInfo(backend.store(plainView(value)), backend);
}

/** The view of a recorded tensor. */
export const viewOfTensor = (tensor: Tensor): View => backend.view(tensor);

/**
 * Runs `fn` with the recorder as the active tfjs backend, inside a tidy, and restores the previous backend.
 * @param owner the function being recorded, for errors
 * @throws RecordingError that names the owner, if `fn` uses a kernel without an emitter, reads values or draws random
 * numbers
 */
export function withRecorder<T>(owner: string, fn: () => T): T {
  if (!engine().findBackend(recorderName)) registerBackend(recorderName, () => backend, 0);
  engine().findBackend(recorderName);
  const state = engine() as unknown as { backendName: string; backendInstance: KernelBackend };
  const previous = { backendName: state.backendName, backendInstance: state.backendInstance };
  const { random } = Math;
  Object.assign(state, { backendName: recorderName, backendInstance: backend });
  Math.random = refuseRandomness;
  engine().startScope();
  try {
    return fn();
  } catch (error) {
    throw explained(owner, error as Error);
  } finally {
    engine().endScope();
    Math.random = random;
    Object.assign(state, previous);
  }
}

/** Replaces Math.random, which tfjs's unseeded random ops call: a recording would repeat the same numbers. */
function refuseRandomness(): never {
  throw new RecordingError(
    'it draws random numbers (Math.random, as tf.randomNormal, tf.randomUniform and tf.dropout do), which a ' +
      'recording would repeat in each call. Draw them outside and hand them in as an input, give a seed if they are ' +
      'always the same, or run it on the tfjs engine.',
  );
}

function explained(owner: string, error: Error): Error {
  const unknown =
    /Kernel '(\w+)' not registered for backend/.exec(error.message)?.[1] ??
    /Cannot read kernel (\w+)/.exec(error.message)?.[1];
  const reason = unknown
    ? `it uses the kernel '${unknown}', ${reasonAgainst(unknown)}, or run it on the tfjs engine.`
    : error instanceof RecordingError
      ? error.message
      : undefined;
  return reason
    ? new RecordingError(`OnnxRuntimeEngine: ${owner} cannot be recorded: ${reason}`, { cause: error })
    : error;
}

/** Whether a kernel has an emitter or a decomposition. */
export const isRecordable = (kernelName: string): boolean => getKernel(kernelName, recorderName) !== undefined;
