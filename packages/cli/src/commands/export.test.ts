import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadLora, stateTensors } from '@alignprop/lora';
import { captureOutput } from '../../../../fixtures/capture-output.js';
import { fixturePath } from '../../../../fixtures/index.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { run } from '../program.js';

const printed = captureOutput();
const folder = temporaryFolder();
const path = (name: string): string => join(folder, name);

const model = ['--model', fixturePath('sd15-tiny/model')];
const adapter = fixturePath('lora-r4/trl/pytorch_lora_weights.safetensors');

/** Reads B of the first module. */
async function firstB(file: string): Promise<{ shape: readonly number[]; values: readonly number[] }> {
  const tensors = stateTensors(await loadLora(file));
  const tensor = tensors[
    Object.keys(tensors)
      .filter((key) => key.endsWith('lora_B.weight'))
      .sort()[0]!
  ] as { shape: readonly number[]; read(): Promise<Float32Array> };
  return { shape: tensor.shape, values: [...(await tensor.read())] };
}

describe('alignprop export --mix', () => {
  it('mixes two adapters, or an adapter with the model', async () => {
    const one = await firstB(adapter);
    const mix = (output: string, ...args: string[]) =>
      run(['export', adapter, ...model, '-o', path(output), '--format', 'diffusers-old', ...args]);
    expect(await mix('delta.safetensors', '--mix', adapter, '--mix-coefficient', '0.25')).toBe(0);
    const [out, r] = one.shape as [number, number];
    const delta = await firstB(path('delta.safetensors'));
    expect(delta.shape).toEqual([out, 2 * r]);
    delta.values.forEach((value, i) =>
      expect(value).toBeCloseTo(
        (i % (2 * r) < r ? 0.25 : 0.75) * one.values[Math.floor(i / (2 * r)) * r + (i % r)]!,
        6,
      ),
    );

    expect(await mix('factor.safetensors', '--mix', 'base', '--mix-coefficient', '0.5', '--mix-mode', 'factor')).toBe(
      0,
    );
    const factor = await firstB(path('factor.safetensors'));
    expect(factor.shape).toEqual(one.shape);
    factor.values.forEach((value, i) => expect(value).toBeCloseTo(0.5 * one.values[i]!, 6));
  });

  it('lists the modes when the given one is unknown', async () => {
    expect(
      await run(['export', adapter, ...model, '-o', path('x.safetensors'), '--mix', 'base', '--mix-mode', 'sum']),
    ).not.toBe(0);
    expect(printed.stderr).toMatch(/delta, factor/);
  });
});
