import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { decodePng } from '@alignprop/diffusion';
import { fixturePath } from '../../../../fixtures/index.js';
import { run } from '../program.js';

const folder = mkdtempSync(join(tmpdir(), 'alignprop-generate-'));
afterAll(() => rmSync(folder, { recursive: true }));

let stderr = '';
beforeEach(() => {
  stderr = '';
  vi.spyOn(process.stdout, 'write').mockImplementation(() => true);
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => ((stderr += String(text)), true));
});
afterEach(() => void vi.restoreAllMocks());

const settings = [
  'a cat',
  '--model',
  fixturePath('sd15-tiny/model'),
  '--steps',
  '3',
  '--seed',
  '7',
  '--height',
  '16',
  '--width',
  '16',
  '--quiet',
];
const lora = ['--lora', fixturePath('lora-r4/trl/pytorch_lora_weights.safetensors'), '--lora-scale', '4'];

describe('alignprop generate --lora-anneal', () => {
  it('draws neither what the model draws nor what the adapter does, and writes down how', async () => {
    const draw = async (name: string, ...args: string[]) => {
      const path = join(folder, name);
      expect(await run(['generate', ...settings, ...args, '-o', path])).toBe(0);
      return { pixels: [...decodePng(readFileSync(path)).data], text: readFileSync(path, 'latin1') };
    };
    const [plain, tuned, annealed] = [
      await draw('plain.png'),
      await draw('tuned.png', ...lora),
      await draw('annealed.png', ...lora, '--lora-anneal', '1'),
    ];
    expect(tuned.pixels).not.toEqual(plain.pixels);
    for (const other of [plain, tuned]) expect(annealed.pixels).not.toEqual(other.pixels);
    expect(annealed.text).toContain('Lora anneal: 1');
  });

  it('wants an adapter, and a power above 0', async () => {
    expect(await run(['generate', ...settings, '--lora-anneal', '1'])).toBe(2);
    expect(stderr).toMatch(/--lora-anneal: got 1 without an adapter\. Give --lora <file>\./);
    expect(await run(['generate', ...settings, ...lora, '--lora-anneal', '0'])).toBe(2);
    expect(stderr).toMatch(/--lora-anneal: got 0, expected a number above 0\./);
  });
});
