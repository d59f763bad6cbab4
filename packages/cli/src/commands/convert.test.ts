import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { TfjsEngine, useBackend } from '@alignprop/autograd-ext';
import { directory, openSafetensors } from '@alignprop/autograd-ext/weights';
import { StableDiffusionPipeline } from '@alignprop/diffusion';
import { captureOutput } from '../../../../fixtures/capture-output.js';
import { fixturePath } from '../../../../fixtures/index.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { run } from '../program.js';

const printed = captureOutput();
const folder = temporaryFolder();
const single = (path: string): string => fixturePath(`single-file/${path}`);

describe('alignprop convert', () => {
  beforeAll(() => useBackend('wasm'));

  it.each([
    ['sd1', 'sd1.ckpt', 'F32'],
    ['sd2', 'sd2-fp16.safetensors', 'F16'],
    ['sdxl', 'sdxl-fp16.safetensors', 'F16'],
  ])('writes a folder that draws as the file does, in its number format: %s', async (kind, file, dtype) => {
    const target = join(folder, kind);
    const config = single(`${kind}/config`);
    const prediction = ['--prediction-type', 'epsilon'];
    expect(await run(['convert', single(`${kind}/${file}`), target, '--model-config', config, ...prediction])).toBe(0);
    const options = { engine: new TfjsEngine() };
    const [expected, actual] = [
      await StableDiffusionPipeline.fromSingleFile(single(`${kind}/${file}`), {
        ...options,
        config,
        predictionType: 'epsilon',
      }),
      await StableDiffusionPipeline.fromPretrained(target, options),
    ];
    const draw = async (pipeline: StableDiffusionPipeline) => {
      const size = { seed: 3, numInferenceSteps: 2, height: 16, width: 16 };
      const { images } = await pipeline.generate('a cat', { ...size, negativePrompt: 'bad', outputType: 'tensor' });
      return [...images.dataSync()];
    };
    expect(actual.unet.config).toEqual(expected.unet.config);
    expect(actual.scheduler.config.prediction_type).toBe('epsilon');
    expect(await draw(actual)).toEqual(await draw(expected));
    const parts = readdirSync(target).filter((name) => /^(unet|vae|text_encoder.*)$/.test(name));
    expect(parts).toHaveLength(kind === 'sdxl' ? 4 : 3);
    for (const part of parts) {
      const name = readdirSync(join(target, part)).find((path) => path.endsWith('.safetensors'))!;
      const { tensors } = await openSafetensors(directory(join(target, part)), name);
      expect(new Set([...tensors.values()].map((tensor) => tensor.dtype))).toEqual(new Set([dtype]));
    }
    expect(await run(['convert', single(`${kind}/${file}`), target])).toBe(2);
    expect(printed.stderr).toMatch(/holds a model already, expected another folder/);
  });

  it('refuses what is no single file', async () => {
    expect(await run(['convert', fixturePath('sd2-tiny/model'), join(folder, 'x')])).toBe(2);
    expect(printed.stderr).toMatch(/expected a checkpoint in one file/);
  });
});
