import type { Params } from '@alignprop/autograd-ext';
import type { Tensor } from '@tensorflow/tfjs-core';

/** A tfjs model as a pure function of its weights and its input. */
export interface FunctionalModel {
  /** Sizes that the input has to have, -1 where any will do. */
  readonly inputShape: readonly number[];
  /** By the names of the manifest. */
  readonly params: Params;
  /** The outputs that were asked for. */
  run(params: Params, input: Tensor): Tensor[];
}

/** Which outputs are asked for: by name, or by place among the model's own. */
export type Output = string | number;

/**
 * A module that the user has to install.
 * @throws saying so
 */
export async function importOptional<T>(load: () => Promise<T>, name: string, what: string): Promise<T> {
  return load().catch((cause: unknown) => {
    throw new Error(
      `graphModel: ${what} needs the package '${name}', which cannot be loaded. Run 'npm install ${name}'.`,
      { cause },
    );
  });
}
