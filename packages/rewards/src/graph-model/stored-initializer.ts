import { excerptJson } from '@alignprop/autograd-ext/outside';
import { serialization, zeros, type DataType, type Tensor } from '@tensorflow/tfjs-core';

/** The keys of initializers in the configurations of layers. */
const keys = [
  ...['kernel', 'bias', 'recurrent', 'depthwise', 'pointwise', 'embeddings', 'alpha', 'beta', 'gamma'],
  ...['moving_mean', 'moving_variance'],
].map((name) => `${name}_initializer`);

/** Numbers that the layers of a model may still allocate, by model: those of its file. */
const budgets = new Map<number, { readonly location: string; readonly total: number; left: number }>();
let models = 0;

/**
 * Initialises weights with zeros: they are never used, and random ones take long. Their sizes come from the file, which
 * must have as many numbers.
 */
class StoredInitializer extends serialization.Serializable {
  static readonly className = 'AlignPropStored';

  constructor(private readonly config: { readonly model: number }) {
    super();
  }

  /** @throws if the layers' weights have more numbers than the file */
  apply(shape: number[], dtype?: DataType): Tensor {
    const budget = budgets.get(this.config.model)!;
    budget.left -= shape.reduce((product, size) => product * size, 1);
    if (!(budget.left >= 0))
      throw new Error(
        `graphModel: layers of '${budget.location}' got weights of more than ${budget.total} numbers, such as the ` +
          `shape ${excerptJson(shape)}, expected those of its weightsManifest. Save the model again with tfjs.`,
      );
    return zeros(shape, dtype);
  }

  getConfig(): serialization.ConfigDict {
    return { ...this.config };
  }
}
serialization.registerClass(StoredInitializer as never);

/**
 * Opens a model whose layers may allocate `total` numbers.
 * @param open gets the configuration of the layers, each with initializers that count
 * @throws if the layers' weights have more numbers
 */
export async function withStoredInitializers<T>(
  location: string,
  config: object,
  total: number,
  open: (config: object) => Promise<T>,
): Promise<T> {
  const model = models++;
  budgets.set(model, { location, total, left: total });
  try {
    const initializer = { class_name: StoredInitializer.className, config: { model } };
    return await open(replaced(config, Object.fromEntries(keys.map((key) => [key, initializer]))) as object);
  } finally {
    budgets.delete(model);
  }
}

/** Sets the initializers of every layer, also those that the file leaves to defaults. */
function replaced(config: unknown, initializers: Readonly<Record<string, object>>): unknown {
  if (Array.isArray(config)) return config.map((item) => replaced(item, initializers));
  if (typeof config !== 'object' || config === null) return config;
  const entries = Object.entries(config).map(([key, value]) => [key, replaced(value, initializers)] as const);
  const { class_name: name, config: inner } = config as { readonly class_name?: unknown; readonly config?: unknown };
  const isLayer = typeof name === 'string' && typeof inner === 'object' && inner !== null && !Array.isArray(inner);
  const all = Object.fromEntries(entries);
  return isLayer ? { ...all, config: { ...(all.config as object), ...initializers } } : all;
}
