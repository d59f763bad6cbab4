import type { Engine } from '@alignprop/autograd-ext';
import type { Tensor } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { engineNames, startEngine } from '../../../../fixtures/engines.js';
import { fixtureTensors } from '../../../../fixtures/index.js';

/** The engine of a suite and the reference implementation's tensors by name. Set before each test. */
export interface Reference {
  readonly engine: Engine;
  readonly golden: Readonly<Record<string, Tensor>>;
}

/**
 * Defines a suite on every engine.
 * @param folder of fixtures/, with the reference's `io.safetensors`
 */
export function describeOnEngines(title: string, folder: string, define: (reference: Reference) => void): void {
  describe.each(engineNames)(`${title} on %s`, (name) => {
    const reference = {} as { engine: Engine; golden: Record<string, Tensor> };
    beforeAll(async () => {
      reference.engine = await startEngine(name);
      reference.golden = await fixtureTensors(`${folder}/io.safetensors`);
    });
    afterAll(() => reference.engine.dispose());
    define(reference);
  });
}

/** Expects the same shape, and every value within `tolerance` (absolute). */
export function expectWithin(actual: Tensor, expected: Tensor, tolerance: number): void {
  expect(actual.shape).toEqual(expected.shape);
  const values = expected.dataSync();
  actual.dataSync().forEach((value, i) => expect(Math.abs(value - values[i]!)).toBeLessThanOrEqual(tolerance));
}
