import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { useBackend, type Params, type StoredTensor } from '@alignprop/autograd-ext';
import { encodeSafetensors, memory, type RawTensor } from '@alignprop/autograd-ext/weights';
import { tensor } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { applyLora } from '../apply-lora.js';
import { loraModules } from '../adapters.js';
import { loadLora } from '../load-lora.js';
import { encodeLora } from '../encode-lora.js';
import { LoraLayer } from '../lora-layer.js';
import { saveLora } from '../save-lora.js';
import type { LoraPart } from './lora-key.js';
import type { LoraLayout } from './lora-layout.js';
import { readKey } from '../reading/adapter-key.js';
import { loraFormats, loraLayouts, type LoraFormat } from './lora-layouts.js';

const components = ['unet', 'text_encoder', 'text_encoder_2'] as const;
const modules = ['down_blocks.0.attn1.to_q', 'down_blocks.0.attn1.to_out.0', 'mid_block.attn2.to_v'];
const parts = ['lora_A', 'lora_B', 'alpha', 'magnitude'] as const;

const weight: StoredTensor = { shape: [3, 3], dtype: 'F32', read: async () => new Float32Array(9) };
const module = (adapter: LoraLayer | StoredTensor) => ({ weight: adapter });
const treeOf = (leaf: () => LoraLayer | StoredTensor) =>
  ({
    down_blocks: [{ attn1: { to_q: module(leaf()), to_out: [module(leaf())] } }],
    mid_block: { attn2: { to_v: module(leaf()), to_k: module(weight) } },
  }) as unknown as Params;

const valuesA = Float32Array.of(1, 2, 3, 4, 5, 6);
const valuesB = Float32Array.of(-1, -2, -3, -4, -5, -6);
const raw: Readonly<Record<LoraPart, RawTensor>> = {
  lora_A: { dtype: 'F32', shape: [2, 3], data: valuesA },
  lora_B: { dtype: 'F32', shape: [3, 2], data: valuesB },
  alpha: { dtype: 'F32', shape: [], data: Float32Array.of(3) },
  magnitude: { dtype: 'F32', shape: [3, 1], data: Float32Array.of(7, 8, 9) },
};

/** The adapters of a file as plain values: A, scale·B and whether α is that of the original. */
async function adaptersOf(path: string | Uint8Array, prefix?: string) {
  const state = await loadLora(typeof path === 'string' ? path : memory({ 'adapter.safetensors': path }), { prefix });
  return Object.entries(
    loraModules(
      await applyLora(
        treeOf(() => weight),
        state,
      ),
    ),
  ).map(([name, adapter]) => ({
    name,
    a: [...adapter.loraA.dataSync()],
    scaledB: [...adapter.loraB.dataSync()].map((value) => value * adapter.scale),
    scale: adapter.scale,
  }));
}

let folder: string;
beforeAll(async () => {
  await useBackend('cpu');
  folder = await mkdtemp(join(tmpdir(), 'lora-layouts-'));
});
afterAll(() => rm(folder, { recursive: true }));

describe.each(loraLayouts.map((layout) => [layout.name, layout] as const))(
  'LoRA layout %s',
  (_, layout: LoraLayout) => {
    const keys = components.flatMap((component) =>
      modules.flatMap((name) => parts.map((part) => ({ component, module: name, part }))),
    );

    it('has keys for A and B of every module', () => {
      for (const key of keys) if (key.part.startsWith('lora')) expect(layout.encodeKey(key)).toBeTypeOf('string');
    });

    it('has keys that mean what they were written for', () => {
      const spellings = ['lora_magnitude_vector', 'dora_scale']; // of DoRA's m
      for (const key of keys) {
        const encoded = layout.encodeKey(key);
        if (encoded === undefined) continue;
        const { component, module: name, part } = readKey(encoded)!;
        expect(key.part === 'magnitude' ? spellings : [key.part]).toContain(part);
        expect([key.module, key.module.replaceAll('.', '_')]).toContain(name);
        expect([key.component, undefined]).toContain(component);
      }
    });

    it('loads from a file of its keys', async () => {
      const tensors = modules.flatMap((name) =>
        parts.map((part) => [layout.encodeKey({ component: 'unet', module: name, part }), raw[part]] as const),
      );
      const data = encodeSafetensors(Object.fromEntries(tensors.filter(([key]) => key !== undefined)));
      const scale =
        layout.encodeKey({ component: 'unet', module: modules[0]!, part: 'alpha' }) === undefined ? 1 : 3 / 2;
      expect(await adaptersOf(data)).toEqual(
        modules.map((name) => ({
          name,
          a: [...valuesA],
          scaledB: [...valuesB].map((value) => value * scale),
          scale,
        })),
      );
    });

    it('refuses a file with a key of no adapter beside its own', async () => {
      const key = layout.encodeKey({ component: 'unet', module: modules[0]!, part: 'lora_A' })!;
      await expect(adaptersOf(encodeSafetensors({ [key]: raw.lora_A, 'a.unknown': raw.lora_A }))).rejects.toThrow(
        'has keys of no known adapter: a.unknown.',
      );
    });
  },
);

describe.each(loraLayouts.map(({ name, writer }) => [name as LoraFormat, writer] as const))(
  'LoRA writer %s',
  (format, writer) => {
    const path = () => join(folder, writer.config ? format : `${format}.safetensors`);
    const adapted = () =>
      treeOf(
        () =>
          new LoraLayer({ base: weight, loraA: tensor(valuesA, [2, 3]), loraB: tensor(valuesB, [3, 2]), scale: 1.5 }),
      );
    const expected = modules.map((name) => ({
      name,
      a: [...valuesA],
      scaledB: [...valuesB].map((value) => value * 1.5),
      scale: writer.alpha === 'nowhere' ? 1 : 1.5,
    }));

    it('writes what is read back, with α where the layout stores it', async () => {
      await saveLora(path(), adapted(), { format });
      expect(await adaptersOf(path())).toEqual(expected);
    });

    it('encodes in memory the bytes that it writes, or refuses a folder', async () => {
      const encoding = encodeLora(adapted(), { format });
      if (writer.config)
        return expect(encoding).rejects.toThrow(`encodeLora: format got '${format}', which is a folder`);
      await saveLora(path(), adapted(), { format });
      expect(Buffer.from(await encoding)).toEqual(await readFile(path()));
    });

    it('writes several parts of a pipeline to one file, or refuses', async () => {
      const others = { text_encoder: adapted(), text_encoder_2: adapted() };
      const save = saveLora(path(), adapted(), { format, others });
      if (writer.config) return expect(save).rejects.toThrow(`format got '${format}' for several parts`);
      await save;
      for (const prefix of components) expect(await adaptersOf(path(), prefix)).toEqual(expected);
    });

    it('refuses a path of the other kind and writes nothing', async () => {
      const before = await readdir(folder);
      const wrong = join(folder, writer.config ? 'wrong.safetensors' : 'wrong');
      await expect(saveLora(wrong, adapted(), { format })).rejects.toThrow(
        writer.config ? 'expected a folder' : 'expected a file that ends in .safetensors',
      );
      expect(await readdir(folder)).toEqual(before);
    });
  },
);

describe('loraLayouts', () => {
  it('has names that differ, and writes the formats of saveLora', () => {
    expect(new Set(loraLayouts.map(({ name }) => name)).size).toBe(loraLayouts.length);
    expect(loraFormats).toEqual(['diffusers-old', 'diffusers', 'peft', 'kohya']);
  });
});
