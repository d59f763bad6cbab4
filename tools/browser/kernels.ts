// Compares the kernels of an engine, and their gradients, with those of tfjs's backend cpu, in Node and in browsers.
import {
  differenceFromCpu,
  kernelCases,
  type OtherEngine,
} from '../../packages/autograd-ext/src/engine/onnxruntime/__fixtures__/kernel-results.js';

/** The cases that were compared, and what was found. */
export interface ComparedKernels {
  readonly count: number;
  /** The cases that differ or fail, and how. */
  readonly problems: readonly string[];
}

/**
 * Runs the cases of kernels that tests list, one after the other.
 * @param only the names of the cases; all by default
 */
export async function compareKernels(other: OtherEngine, only = /(?:)/): Promise<ComparedKernels> {
  const problems: string[] = [];
  const cases = kernelCases.filter(({ name }) => only.test(name));
  for (const kernelCase of cases) {
    const problem = await differenceFromCpu(kernelCase, other).catch((error: unknown) => String(error).slice(0, 300));
    if (problem) problems.push(`${kernelCase.name}: ${problem}`);
  }
  return { count: cases.length, problems };
}

export const describeKernels = ({ count, problems }: ComparedKernels): string =>
  `${problems.length} of ${count} cases of kernels differ\n${problems.map((problem) => `  ${problem}\n`).join('')}`;
