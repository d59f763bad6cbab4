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

/** An operation with one output, and its gradient. */
export interface OpDefinition<A extends object> {
  /** Kernel name, unique in tfjs's registry. */
  readonly name: string;
  /** The operation as a composite of tfjs ops: what runs on a backend that has no kernel of this name. */
  forward(inputs: Named<Tensor>, attrs: A): Tensor;
  /** Names of the inputs that the gradient reads. */
  readonly inputsToSave?: readonly string[];
  /** Whether the gradient reads the output, given after the saved inputs. */
  readonly saveOutput?: boolean;
  /**
   * One thunk an input: only those whose gradient is asked for are run, so a frozen weight costs nothing. None: not
   * differentiable.
   */
  gradient?(dy: Tensor, saved: readonly Tensor[], attrs: A): Named<() => Tensor>;
}

/**
 * Registers an op's gradient and returns the op. Forward, kernels and gradient stay three separate things, as in tfjs:
 * `tf.customGrad` would compute the gradient of every input, frozen ones included.
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
