import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { collectLora, describeLoras } from './lora-options.js';

const folder = temporaryFolder();

describe('--lora', () => {
  it.each([
    ['style.safetensors', { source: 'style.safetensors' }],
    ['style.safetensors:0.8', { source: 'style.safetensors', weight: 0.8 }],
    ['org/name:-1', { source: 'org/name', weight: -1 }],
    ['org/name/style-b.safetensors:.5', { source: 'org/name/style-b.safetensors', weight: 0.5 }],
    ['runs/out:1e-1', { source: 'runs/out', weight: 0.1 }],
    [String.raw`C:\loras\style.safetensors`, { source: String.raw`C:\loras\style.safetensors` }],
    [String.raw`C:\loras\style.safetensors:2`, { source: String.raw`C:\loras\style.safetensors`, weight: 2 }],
    ['style.safetensors:high', { source: 'style.safetensors:high' }],
  ])('reads %s', (text, choice) => {
    expect(collectLora(text)).toEqual([choice]);
  });

  it('takes a file that is there by its name, colon included', () => {
    const path = join(folder, 'style:1');
    writeFileSync(path, '');
    expect(collectLora(path)).toEqual([{ source: path }]);
    expect(collectLora(`${path}:2`)).toEqual([{ source: path, weight: 2 }]);
  });

  it.each(['high', '0,5', '50%', 'nan', ''])('refuses the weight %j of a file that is there', (weight) => {
    const path = join(folder, 'style.bin');
    writeFileSync(path, '');
    expect(() => collectLora(`${path}:${weight}`)).toThrow(
      `--lora: the weight of '${path}' got '${weight}', expected a number`,
    );
  });

  it('keeps adapters in the order in which they are given, and describes them', () => {
    const lora = collectLora('b/two.bin', collectLora('a/one.safetensors:0.3'));
    expect(describeLoras({ lora, loraScale: 0.5 })).toBe('one.safetensors: 0.3, two.bin: 0.5');
  });
});
