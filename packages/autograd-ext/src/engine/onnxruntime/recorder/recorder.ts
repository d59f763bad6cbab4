import {
  engine,
  getKernel,
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

/** The name under which tfjs knows the backend that records. */
export const recorderName = 'alignprop-recorder';

/** Something that cannot be recorded, with what to do about it. */
export class RecordingError extends Error {
  override readonly name = 'RecordingError';
}

/**
 * How a kernel is recorded: from views to views. Lists of tensors come as `inputs['0']`, `inputs['1']` …, as tfjs hands
 * them.
 */
export type KernelEmitter<A = Record<string, never>> = (
  inputs: Readonly<Record<string, View>>,
  attrs: A,
) => View | readonly View[];

/** A tfjs backend that computes nothing: each kernel adds nodes to a graph instead. */
class RecorderBackend extends KernelBackend {
  readonly #views = new WeakMap<DataId, View>();
  readonly #references = new WeakMap<DataId, number>();
  #count = 0;

  place(view: View): TensorInfo {
    const dataId = {};
    this.#views.set(dataId, view);
    this.#references.set(dataId, 1);
    this.#count++;
    return { dataId, shape: [...view.shape], dtype: dtypeOf(view) as DataType };
  }

  /** The view of a tensor; one that was made outside, and used inside, becomes a constant. */
  view(info: TensorInfo): View {
    const known = this.#views.get(info.dataId);
    if (known) return known;
    const values = engine().state.tensorInfo.get(info.dataId)!.backend.readSync(info.dataId) as Float32Array;
    const view = constantView(values.slice(), info.shape, info.dtype);
    this.#views.set(info.dataId, view);
    return view;
  }

  override write(values: BackendValues, shape: number[], dtype: DataType): DataId {
    return this.place(constantView(values as Float32Array, shape, dtype)).dataId;
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

/** Teaches the recorder a kernel of tfjs or of ours. */
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
      return Array.isArray(outputs) ? outputs.map((view: View) => backend.place(view)) : backend.place(outputs as View);
    },
  });
}

/** Teaches the recorder a kernel as the tfjs ops that it is made of. */
export function registerDecomposition<A>(
  kernelName: string,
  composite: (inputs: Readonly<Record<string, Tensor>>, attrs: A) => Tensor,
): void {
  registerKernel({
    kernelName,
    backendName: recorderName,
    kernelFunc: ({ inputs, attrs }) =>
      tidy(() => composite(inputs as unknown as Record<string, Tensor>, attrs as unknown as A)),
  });
}

/** A tensor that stands for a value while recording. */
export function placeholder(value: Value): Tensor {
  return engine().makeTensorFromTensorInfo(backend.place(plainView(value)), backend);
}

/** The value that a recorded tensor came to be, in the tensor's own order. */
export const viewOfTensor = (tensor: Tensor): View => backend.view(tensor);

/**
 * Runs `fn` with the recorder as tfjs's backend, inside a tidy.
 * @param owner what is recorded, for errors
 * @throws RecordingError naming the owner, if it uses a kernel that is not known here or reads values
 */
export function withRecorder<T>(owner: string, fn: () => T): T {
  if (!engine().findBackend(recorderName)) registerBackend(recorderName, () => backend, 0);
  engine().findBackend(recorderName);
  const state = engine() as unknown as { backendName: string; backendInstance: KernelBackend };
  const before = { backendName: state.backendName, backendInstance: state.backendInstance };
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
    Object.assign(state, before);
  }
}

/**
 * In place of Math.random, on which tfjs's random ops without a seed rely: what is drawn once would be the same in each
 * call.
 */
function refuseRandomness(): never {
  throw new RecordingError(
    'it draws random numbers (Math.random, as tf.randomNormal, tf.randomUniform and tf.dropout do), which a ' +
      'recording would repeat in each call. Draw them outside and hand them in as an input, give a seed if they are always the ' +
      'same, or run it on the tfjs engine.',
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

/** Whether the recorder knows a kernel. */
export const isRecordable = (kernelName: string): boolean => getKernel(kernelName, recorderName) !== undefined;
