import { join } from 'node:path';
import { cast, dispose, tensor1d, type Tensor, type Tensor3D, type Tensor4D } from '@tensorflow/tfjs-core';
import { readValues, type Engine, type Params, type StoredTensor } from '@alignprop/autograd-ext';
import { record } from '@alignprop/autograd-ext/outside';
import { directory, encodeSafetensors, memory, openSafetensors, type RawTensor } from '@alignprop/autograd-ext/weights';
import { StableDiffusionPipeline, unet2DCondition } from '@alignprop/diffusion';
import {
  applyLora,
  loraModules,
  loraTensors,
  openLora,
  saveLora,
  type LoraFormat,
  type OpenedAdapter,
} from '@alignprop/lora';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { engineNames, startEngine } from '../../../../fixtures/engines.js';
import { expectClose, fixtureJson, fixturePath, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';

// Adapters of SDXL's UNet and both text encoders, as diffusers, peft, sd-scripts, A1111 and ComfyUI write them.

interface LoraCase {
  readonly prompt: string;
  readonly negative_prompt: string;
  readonly steps: number;
  readonly guidance_scale: number;
  readonly scale_of_image_lora_scaled: number;
  readonly n_modules: Readonly<Record<string, number>>;
}

const { lora: golden } = fixtureJson<{ lora: LoraCase }>('sdxl-tiny/case.json');
const fileOf = (name: string): string => fixturePath(`sdxl-tiny/lora/${name}`);
const files = { diffusers: 'diffusers/pytorch_lora_weights.safetensors', kohya: 'kohya/lora.safetensors' } as const;
const unetOnly = 'kohya-diffusers-names/lora_unet_only.safetensors';
const folder = temporaryFolder();

/** Applies a file to every model that it adapts. */
async function adapted(
  pipeline: StableDiffusionPipeline,
  { components }: OpenedAdapter,
  options: { scale?: number; trainable?: boolean } = {},
): Promise<StableDiffusionPipeline> {
  const trees: Readonly<Partial<Record<string, Params>>> = pipeline.params;
  const params = record<Params>();
  for (const [name, state] of Object.entries(components)) params[name] = await applyLora(trees[name]!, state, options);
  return pipeline.withParams(params);
}

describe.each(engineNames)('an adapter of SDXL on %s', (engineName) => {
  let engine: Engine;
  let base: StableDiffusionPipeline;
  let images: Record<string, Tensor>;
  beforeAll(async () => {
    engine = await startEngine(engineName);
    base = await StableDiffusionPipeline.fromPretrained(fixturePath('sdxl-tiny/model'), { engine });
    images = await fixtureTensors('sdxl-tiny/lora/images.safetensors');
  });
  afterEach(() => engine.dispose());

  it.each([
    ['diffusers', files.diffusers, 1, 'image_lora'],
    ['kohya', files.kohya, 1, 'image_lora'],
    ['kohya, scaled', files.kohya, golden.scale_of_image_lora_scaled, 'image_lora_scaled'],
    ["kohya with diffusers' names of blocks, for the UNet alone", unetOnly, 1, 'image_unet_only'],
  ])('draws as diffusers does from a file of %s', async (_, file, scale, expected) => {
    const opened = await openLora(fileOf(file));
    const counts = Object.entries(opened.components).map(([name, state]) => [name, Object.keys(state.modules).length]);
    const { unet, ...texts } = golden.n_modules;
    expect(Object.fromEntries(counts)).toEqual({ unet, ...(file !== unetOnly && texts) });
    const pipeline = await adapted(base, opened, { scale });
    const drawn = await pipeline.generate(golden.prompt, {
      outputType: 'tensor',
      negativePrompt: golden.negative_prompt,
      numInferenceSteps: golden.steps,
      guidanceScale: golden.guidance_scale,
      latents: toNHWC(images.latents0!),
      height: 32,
      width: 32,
    });
    expectClose(toNCHW(drawn.images), images[expected]!, 1e-3, expected);
    for (const params of Object.values(pipeline.params)) dispose(loraTensors(params));
    dispose([drawn.images, drawn.latents]);
  });

  it("has the UNet's output and every gradient of peft", async () => {
    const expected = await fixtureTensors('sdxl-tiny/lora/unet_grads.safetensors');
    const io = await fixtureTensors('sdxl-tiny/unet.safetensors');
    const { unet } = await adapted(base, await openLora(fileOf(files.kohya)), { trainable: true });
    const vjp = engine.compileVjp((params, sample, timestep, context, pooled, timeIds) =>
      unet2DCondition(unet.config, params, sample as Tensor4D, timestep!, context as Tensor3D, {
        textEmbeds: pooled,
        timeIds,
      }),
    );
    const input = (name: string): Tensor => io[`0.${name}`]!;
    const inputs = [
      toNHWC(input('sample')),
      tensor1d([981]), // case.json, unet[0]
      ...['encoder_hidden_states', 'text_embeds', 'time_ids'].map((name) => cast(input(name), 'float32')),
    ];
    const { value, params } = await vjp(unet.params, inputs, toNHWC(input('R')));
    expectClose(toNCHW(value), expected.out!, 1e-4, 'out');
    const gradients = Object.entries(expected).filter(([name]) => name.startsWith('grad.'));
    expect(gradients).toHaveLength(Object.keys(params).length);
    for (const [name, gradient] of gradients) expectClose(params[name.slice('grad.'.length)]!, gradient, 1e-3, name);
  });
});

/** Other spellings of diffusers' keys; programs that read them tell the parts of the pipeline by these beginnings. */
const spellings: Readonly<Record<string, (key: string) => string>> = {
  'old diffusers': (key) =>
    key
      .replace(
        /^(text_encoder.*)\.lora_([AB])\.weight$/,
        (_, path, ab) => `${path}.lora_linear_layer.${side(ab)}.weight`,
      )
      .replace(/^(unet.*)\.lora_([AB])\.weight$/, (_, path, ab) => `${path}.lora.${side(ab)}.weight`),
  "diffusers' attention processors": (key) =>
    key
      .replace(
        /^(unet.*)\.(to_[qkv]|to_out)(?:\.0)?\.lora_([AB])\./,
        (_, path, to, ab) => `${path}.processor.${to}_lora.${side(ab)}.`,
      )
      .replace(
        /^(text_encoder.*)\.(q|k|v|out)_proj\.lora_([AB])\./,
        (_, path, to, ab) => `${path}.to_${to}_lora.${side(ab)}.`,
      ),
  'peft with names of adapters': (key) =>
    key.replace(/^(\w+)\./, '$1.base_model.model.').replace('.weight', '.default.weight'),
  'transformers 5': (key) => key.replace('.text_model.', '.'),
  ComfyUI: (key) =>
    key
      .replace(/^unet\./, 'diffusion_model.')
      .replace(/^text_encoder\./, 'text_encoders.clip_l.transformer.')
      .replace(/^text_encoder_2\./, 'text_encoders.clip_g.transformer.'),
  'A1111 and sd-scripts': (key) =>
    key
      .replace(/\.lora_([AB])\.weight$/, (_, ab) => `;lora_${side(ab)}.weight`)
      .replace(/^unet\./, 'lora_unet.')
      .replace(/^text_encoder\./, 'lora_te1.')
      .replace(/^text_encoder_2\./, 'lora_te2.')
      .replaceAll('.', '_')
      .replace(';', '.')
      .replace(/_weight$/, '.weight'),
};
const side = (ab: string): string => (ab === 'A' ? 'down' : 'up');

/** A and, with the scale, B of every adapter by diffusers' path. */
async function valuesOf(base: StableDiffusionPipeline, opened: OpenedAdapter): Promise<Record<string, number[][]>> {
  const { params } = await adapted(base, opened);
  const entries = Object.entries(params).flatMap(([name, tree]) =>
    Object.entries(loraModules(tree)).map(([module, { loraA, loraB, scale }]): [string, number[][]] => [
      `${name}.${module}`,
      [[...loraA.dataSync()], [...loraB.dataSync()].map((value) => value * scale)],
    ]),
  );
  for (const tree of Object.values(params)) dispose(loraTensors(tree));
  return Object.fromEntries(entries);
}

describe('the spellings of an adapter of SDXL', () => {
  let base: StableDiffusionPipeline;
  let tensors: ReadonlyMap<string, StoredTensor>;
  let expected: Record<string, number[][]>;
  beforeAll(async () => {
    const engine = await startEngine('wasm');
    base = await StableDiffusionPipeline.fromPretrained(fixturePath('sdxl-tiny/model'), { engine });
    ({ tensors } = await openSafetensors(directory(fileOf('diffusers')), 'pytorch_lora_weights.safetensors'));
    expected = await valuesOf(base, await openLora(fileOf(files.diffusers)));
    expect(Object.keys(expected)).toHaveLength(tensors.size / 2);
  });

  it.each(Object.entries(spellings))('are read in the spelling of %s', async (_, spell) => {
    const openRenamed = async (rename: (key: string) => string) => {
      const renamed = record<RawTensor>();
      for (const [key, stored] of tensors)
        renamed[rename(key)] = { dtype: 'F32', shape: stored.shape, data: (await readValues(stored)) as Float32Array };
      expect(Object.keys(renamed)).toHaveLength(tensors.size);
      return openLora(memory({ 'lora.safetensors': encodeSafetensors(renamed) }));
    };
    // Without the header of diffusers' file, every α is the rank.
    const plain = await valuesOf(base, await openRenamed((key) => key));
    expect(await valuesOf(base, await openRenamed(spell))).toEqual(plain);
  });

  it.each<[LoraFormat, RegExp[]]>([
    ['diffusers', [/^text_encoder\.text_model\.\S+\.lora_[AB]\.weight$/, /^text_encoder_2\.text_model\./, /^unet\./]],
    ['diffusers-old', [/^text_encoder\.\S+\.lora_linear_layer\.(?:down|up)\.weight$/, /^text_encoder_2\./, /^unet\./]],
    ['kohya', [/^lora_te1_text_model_/, /^lora_te2_text_model_/, /^lora_unet_/]],
  ])('are written by format %s, all parts to one file', async (format, patterns) => {
    const { unet, ...others } = (await adapted(base, await openLora(fileOf(files.diffusers)))).params;
    const path = join(folder, `${format}.safetensors`);
    await saveLora(path, unet, { format, others: others as Record<string, Params> });
    const { tensors: written } = await openSafetensors(directory(folder), `${format}.safetensors`);
    for (const pattern of patterns) expect([...written.keys()].some((key) => pattern.test(key))).toBe(true);
    expect([...written.keys()].filter((key) => !patterns.some((pattern) => pattern.test(key)))).toEqual([]);
    expect(await valuesOf(base, await openLora(path))).toEqual(expected);
  });
});
