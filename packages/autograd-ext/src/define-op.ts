import {
  engine,
  getBackend,
  getKernel,
  registerGradient,
  registerKernel,
  tidy,
  type Tensor,
} from '@tensorflow/tfjs-core';

type Named<T> = Readonly<Record<string, T>>;

/** An op with one output: its composite kernel and its gradient. */
export interface OpDefinition<A extends object> {
  /** Kernel name, unique in tfjs's registry. */
  readonly name: string;
  /** Composite of tfjs ops that runs on backends without a kernel of this name. */
  forward(inputs: Named<Tensor>, attrs: A): Tensor;
  /** Names of the inputs to save for backward, in the order in which `gradient` receives them. */
  readonly inputsToSave?: readonly string[];
  /** Saves the output for backward; `gradient` receives it after the saved inputs. */
  readonly saveOutput?: boolean;
  /**
   * Returns one thunk per input. Only the thunks of differentiated inputs run, so a frozen weight costs nothing.
   * Without `gradient` the op is not differentiable.
   */
  gradient?(dy: Tensor, saved: readonly Tensor[], attrs: A): Named<() => Tensor>;
}

/**
 * Registers an op's gradient and returns the op. Kernels and gradient are registered separately, as in tfjs, because
 * `tf.customGrad` computes the gradient of every input, frozen ones included.
 */
export function defineOp<A extends object>(op: OpDefinition<A>): (inputs: Named<Tensor>, attrs: A) => Tensor {
  const { gradient } = op;
  if (gradient)
    registerGradient({
      kernelName: op.name,
      inputsToSave: [...(op.inputsToSave ?? [])],
      outputsToSave: op.saveOutput ? [true] : [],
      gradFunc: (dy, saved, attrs) => gradient(dy as Tensor, saved, attrs as unknown as A),
    });
  return (inputs, attrs) => {
    ensureKernel(op);
    return engine().runKernel(op.name, inputs as never, attrs as never) as Tensor;
  };
}

function ensureKernel<A extends object>(op: OpDefinition<A>): void {
  const backendName = getBackend();
  if (getKernel(op.name, backendName)) return;
  registerKernel({
    kernelName: op.name,
    backendName,
    kernelFunc: ({ inputs, attrs }) =>
      tidy(() => op.forward(inputs as unknown as Named<Tensor>, attrs as unknown as A)),
  });
}
