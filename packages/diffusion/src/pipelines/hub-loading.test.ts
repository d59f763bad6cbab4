import { mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TfjsEngine } from '@alignprop/autograd-ext';
import type { HubOptions } from '@alignprop/autograd-ext/weights';
import { fixturePath } from '../../../../fixtures/index.js';
import { startMockHub, type MockHub } from '../../../../fixtures/mock-hub.js';
import { CLIPTextModel } from '../clip/text-model.js';
import { CLIPTokenizer } from '../clip/tokenizer.js';
import { AutoencoderKL } from '../models/autoencoder-kl.js';
import { UNet2DConditionModel } from '../models/unet-2d-condition.js';
import type { FromPretrainedOptions } from './load-parts.js';
import { StableDiffusionPipeline } from './stable-diffusion.js';

const before = 'runwayml/stable-diffusion-v1-5';
const now = 'stable-diffusion-v1-5/stable-diffusion-v1-5';
let hub: MockHub;
let cacheDir: string;
let options: HubOptions;

beforeEach(async () => {
  hub = await startMockHub({
    [now]: fixturePath('sd15-tiny/model'),
    'org/collection': fixturePath('sd15-tiny'),
  });
  cacheDir = await mkdtemp(join(tmpdir(), 'hub-'));
  options = { endpoint: hub.endpoint, cacheDir, token: false };
});
afterEach(async () => {
  await hub.close();
  await rm(cacheDir, { recursive: true });
});

const load = (location: string, more: FromPretrainedOptions = {}) =>
  StableDiffusionPipeline.fromPretrained(location, { ...options, engine: new TfjsEngine(), ...more });

/** Loads a pipeline and draws an image with it. */
async function draw(location: string, more: HubOptions = {}): Promise<ArrayLike<number>> {
  const pipeline = await load(location, more);
  const generation = { numInferenceSteps: 1, guidanceScale: 1, height: 8, width: 8, seed: 0 };
  const { images } = await pipeline.generate('a cat', { ...generation, outputType: 'tensor' });
  const pixels = await images.data();
  pipeline.dispose();
  return pixels;
}

describe('StableDiffusionPipeline.fromPretrained with a hub id', () => {
  it('loads two pipelines at once, downloads each file once, and needs no hub afterwards', async () => {
    const received = new Map<string, number>();
    const progress: HubOptions['progress'] = (file) => received.set(file.path, file.received / file.total!);
    const [one, two] = await Promise.all([draw(before, { progress }), draw(now, { progress })]);
    expect(one).toEqual(await draw(fixturePath('sd15-tiny/model')));
    expect(two).toEqual(one);
    const gets = hub.requests.filter((line) => line.startsWith('GET') && line.includes('/resolve/'));
    expect(new Set(gets).size).toBe(gets.length);
    expect(received.size).toBe(gets.length);
    expect([...received.values()]).toEqual([...received.values()].map(() => 1));

    const name = (id: string) => join(cacheDir, `models--${id.replace('/', '--')}`);
    await rename(name(now), name(before));
    await load(before, { localFilesOnly: true });
    await load(now, { localFilesOnly: true });
  });

  it('loads a pipeline in a folder of a repository', async () => {
    const { unet } = await load('org/collection', { subfolder: 'model' });
    expect(unet.config).toEqual((await load(fixturePath('sd15-tiny/model'))).unet.config);
  });

  it('stops when the signal is aborted, with its reason', async () => {
    const controller = new AbortController();
    const reason = new Error('enough');
    const progress = () => controller.abort(reason);
    await expect(load(now, { signal: controller.signal, progress })).rejects.toBe(reason);
    await expect(load(fixturePath('sd15-tiny/model'), { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });
});

describe.each([
  ['StableDiffusionPipeline', StableDiffusionPipeline, undefined],
  ['UNet2DConditionModel', UNet2DConditionModel, 'unet'],
  ['AutoencoderKL', AutoencoderKL, 'vae'],
  ['CLIPTextModel', CLIPTextModel, 'text_encoder'],
  ['CLIPTokenizer', CLIPTokenizer, 'tokenizer'],
] as const)('%s.fromPretrained', (_, loader, subfolder) => {
  it('passes its options on to the hub', async () => {
    await expect(loader.fromPretrained(now, { ...options, subfolder })).resolves.toBeDefined();
    await expect(loader.fromPretrained('org/other', { ...options, localFilesOnly: true })).rejects.toThrow(
      `hub: revision 'main' of 'org/other' is not in the cache '${cacheDir}`,
    );
    await expect(loader.fromPretrained('org/other', { ...options, revision: 'v1' })).rejects.toThrow(
      `hub: 'org/other' got 401 from ${hub.endpoint}`,
    );
  });
});
