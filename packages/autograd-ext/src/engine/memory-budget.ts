/** Bytes of a process without weights and activations: Node, tfjs, ONNX Runtime and compiled graphs. Measured. */
export const processBytes = 3.5e8;

/** The division of a process's memory for activations, in bytes. */
export interface MemoryBudget {
  /** Memory for the run of one function with its gradient. */
  readonly running: number;
  /** Memory for the activations that functions save until their gradient is asked for. */
  readonly kept: number;
  /** Weights of a function that runs seldom, up to which the engine holds them between its calls. */
  readonly seldom: number;
}

/**
 * Divides the memory that the process has beside its weights: a quarter for what runs, the rest for what is kept.
 * @param maxMemory of the process, in bytes
 * @param weights bytes of the frozen weights
 */
export function memoryBudget(maxMemory: number, weights: number): MemoryBudget {
  const activations = Math.max(0, maxMemory - processBytes - weights);
  return { running: activations / 4, kept: (3 * activations) / 4, seldom: activations / 8 };
}
