import { dispose, tensor, variable, type Tensor } from '@tensorflow/tfjs-core';
import { useBackend, disposeTensors } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import cases from '../__fixtures__/adamw.json' with { type: 'json' };
import { AdamW, updateAdamW } from './adamw.js';
import { clipByGlobalNorm } from './clip-by-global-norm.js';
import { globalNorm } from './gradients.js';

const named = (values: readonly unknown[]) =>
  Object.fromEntries(values.map((value, i) => [`p${i}`, tensor(value as number[])]));

/** Within a few roundings of the largest value. */
function expectNear(actual: Readonly<Record<string, Tensor>>, expected: readonly unknown[], label: string): void {
  expected.forEach((value, i) => {
    const wanted = [value as number[] | number[][]].flat(2) as number[];
    const scale = Math.max(...wanted.map(Math.abs));
    actual[`p${i}`]!.dataSync().forEach((x, j) =>
      expect(Math.abs(x - wanted[j]!), `${label} p${i}[${j}]`).toBeLessThanOrEqual(1e-6 * scale),
    );
  });
}

describe.each(['wasm', 'cpu'] as const)('AdamW and clipping on %s, against torch', (backend) => {
  beforeAll(() => useBackend(backend));

  it.each(cases.map((entry, i) => [i, entry] as const))('case %d', async (_, { options, maxNorm, start, steps }) => {
    await expectNoLeaks(() => {
      const initial = named(start);
      const variables = Object.fromEntries(Object.entries(initial).map(([name, value]) => [name, variable(value)]));
      const optimizer = new AdamW(variables, options);
      for (const { gradients, norm, clipped, parameters, exp_avg, exp_avg_sq } of steps) {
        const raw = named(gradients);
        const total = globalNorm(raw);
        const scaled = clipByGlobalNorm(raw, total, maxNorm);
        expect(Math.abs(total.dataSync()[0]! - norm)).toBeLessThanOrEqual(3e-7 * norm);
        expectNear(scaled, clipped, 'clipped');
        optimizer.step(scaled);
        expectNear(variables, parameters, 'parameters');
        expectNear(optimizer.state.exp_avg, exp_avg, 'exp_avg');
        expectNear(optimizer.state.exp_avg_sq, exp_avg_sq, 'exp_avg_sq');
        dispose([raw, total, scaled]);
      }
      optimizer.dispose();
      dispose([initial, variables]);
    });
  });

  it('changes neither parameters nor state in updateAdamW', () => {
    const parameters = named([[1, 2]]);
    const gradients = named([[0.5, -1]]);
    const state = { step: 0, exp_avg: named([[0, 0]]), exp_avg_sq: named([[0, 0]]) };
    const first = updateAdamW(parameters, gradients, state);
    const again = updateAdamW(parameters, gradients, state);
    expect(first.parameters.p0!.dataSync()).toEqual(again.parameters.p0!.dataSync());
    expect(Array.from(parameters.p0!.dataSync())).toEqual([1, 2]);
    disposeTensors([parameters, gradients, state, first, again]);
  });
});
