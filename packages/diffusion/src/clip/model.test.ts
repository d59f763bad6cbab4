import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { div, norm, randomNormal, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { flatten, TfjsEngine, useBackend } from '@alignprop/autograd-ext';
import { directory, encodeSafetensors, memory, type FileSource } from '@alignprop/autograd-ext/weights';
import { checkGradient } from '@alignprop/autograd-ext/testing';
import { expectClose, fixtureJson, fixturePath, fixtureTensors, toNHWC } from '../../../../fixtures/index.js';
import { parameterCount, randomParams, readEntries } from '../models/__fixtures__/weights.js';
import { imageEmbedsFunction, textEmbedsFunction } from './__fixtures__/model-functions.js';
import { CLIPModel } from './model.js';
import { clipArchitecture, type ClipArchitecture } from './open-clip.js';
import { CLIPTextModelWithProjection } from './text-model.js';
import { clipVision, CLIPVisionModelWithProjection } from './vision-model.js';

const folder = fixturePath('reward-hpsv2');

const unit = (x: Tensor) => div(x, norm(x, 2, 1, true));

describe.each(['wasm', 'cpu'] as const)('CLIPModel on %s', (backend) => {
  const engine = new TfjsEngine();
  beforeAll(() => useBackend(backend));
  afterAll(() => engine.dispose());

  it('loads transformers’ files', async () => {
    const model = await CLIPModel.fromPretrained(fixturePath('reward-pickscore/clip'));
    const golden = await fixtureTensors('reward-pickscore/io.safetensors');
    const [embeds] = await engine.compile(textEmbedsFunction(model.config.text_config))(
      model.params,
      golden.input_ids!,
    );
    expectClose(embeds!, golden.text_embeds!, 1e-4, 'text_embeds');
  });

  it('loads open_clip’s files', async () => {
    const model = await CLIPModel.fromPretrained(folder);
    const golden = await fixtureTensors('reward-hpsv2/io.safetensors');
    const [text] = await engine.compile(textEmbedsFunction(model.config.text_config))(model.params, golden.tokens!);
    expectClose(unit(text!), golden['0.text_features']!, 1e-4, 'text_features');
    const [image] = await engine.compile(imageEmbedsFunction(model.config.vision_config))(
      model.params,
      toNHWC(golden['0.images']!),
    );
    expectClose(unit(image!), golden['0.image_features']!, 1e-4, 'image_features');
  });
});

describe('the layout of open_clip', () => {
  const configs: Record<string, Uint8Array | string> = {
    'open_clip_config.json': JSON.stringify(fixtureJson('reward-hpsv2/open_clip_config.json')),
  };
  beforeAll(() => useBackend('wasm'));

  it('has the gradient of finite differences', () => {
    const half = {
      layout: 'open_clip',
      hidden_size: 8,
      intermediate_size: 12,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      projection_dim: 5,
    };
    const config = { ...half, image_size: 4, patch_size: 2 };
    const tiny = new CLIPVisionModelWithProjection(config, randomParams(CLIPVisionModelWithProjection.spec(config)));
    checkGradient(
      (x) => clipVision(tiny.config, tiny.params, x as Tensor4D).imageEmbeds,
      [randomNormal([2, 4, 4, 3], 0, 1, 'float32', 99)],
    );
  });

  it('is loaded for one half alone, and with the prefix of DistributedDataParallel', async () => {
    const entries = await readEntries(folder, 'open_clip_model.safetensors');
    const prefixed = Object.fromEntries(entries.map(([name, entry]) => [`module.${name}`, entry]));
    const source = memory({ ...configs, 'other.safetensors': encodeSafetensors(prefixed) });
    const [text, vision] = await Promise.all(
      [CLIPTextModelWithProjection, CLIPVisionModelWithProjection].map((model) =>
        model.fromPretrained(source, { file: 'other.safetensors' }),
      ),
    );
    expect(flatten(text!.params)['text_projection.matrix']?.shape).toEqual([32, 48]);
    expect(flatten(vision!.params)['visual_projection.matrix']?.shape).toEqual([24, 48]);
  });

  it.each([
    ['ViT-B-32', 151_277_313, 'gelu', 12, 8],
    ['ViT-L-14-quickgelu', 427_616_513, 'quick_gelu', 16, 12],
    ['ViT-H-14', 986_109_441, 'gelu', 16, 16],
    ['ViT-bigG-14', 2_539_567_105, 'gelu', 16, 20],
  ] as const)('%s has %i parameters', (name, parameters, activation, visionHeads, textHeads) => {
    const config = clipArchitecture(name);
    const { text_config, vision_config } = new CLIPModel(config, {}).config;
    expect(parameterCount(CLIPModel.spec(config))).toBe(parameters);
    expect([text_config.hidden_act, vision_config.hidden_act]).toEqual([activation, activation]);
    expect([vision_config.num_attention_heads, text_config.num_attention_heads]).toEqual([visionHeads, textHeads]);
  });

  it('has errors that name missing configs, unknown architectures and unsupported fields', async () => {
    const file = await openBytes(directory(folder), 'open_clip_model.safetensors');
    const alone = memory({ 'open_clip_model.safetensors': file }, 'clip');
    await expect(CLIPModel.fromPretrained(alone)).rejects.toThrow(
      "CLIPModel: 'clip' has no open_clip_config.json. Add it, or pass architecture, such as 'ViT-H-14'.",
    );
    await expect(CLIPModel.fromPretrained(alone, { architecture: 'ViT-B-32' })).rejects.toThrow(
      /visual_projection\.matrix \(got \[24, 48\], expected \[768, 512\]\)/,
    );
    expect(() => clipArchitecture('RN50' as ClipArchitecture)).toThrow(
      "CLIPModel: architecture got 'RN50', expected one of ViT-B-32, ViT-L-14,",
    );
    const resnet = {
      model_cfg: { embed_dim: 8, vision_cfg: { layers: [3, 4, 6, 3], timm_model_name: 'resnet50' }, text_cfg: {} },
    };
    const wrong = memory({
      'open_clip_model.safetensors': file,
      'open_clip_config.json': JSON.stringify(resnet),
    });
    await expect(CLIPModel.fromPretrained(wrong)).rejects.toThrow(
      'CLIPModel (open_clip vision_cfg): config field layers got [3,4,6,3], ' +
        'expected an integer from 1 to 256; timm_model_name',
    );
  });
});

async function openBytes(source: FileSource, path: string): Promise<Uint8Array> {
  const file = await source.open(path);
  const bytes = await file.read(0, file.size);
  await file.close();
  return bytes;
}
