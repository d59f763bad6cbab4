import { dispose, tensor, tidy, type Variable } from '@tensorflow/tfjs-core';
import { random, useBackend } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import { addLora, applyLora, fuseLora, loadLora, loraModules, loraTensors, saveLora, withLora } from '@alignprop/lora';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { folderPerTest, out } from '../../../../fixtures/folder-per-test.js';
import { tinyPipeline } from '../__fixtures__/tiny-run.js';

folderPerTest();
let pipeline: StableDiffusionPipeline;
beforeAll(async () => {
  await useBackend('wasm');
  pipeline = await tinyPipeline();
});
afterAll(() => pipeline.dispose());

/** Saves an adapter of random values. @returns its file */
async function saveAdapter(name: string, seed: number): Promise<string> {
  const generator = random(seed);
  const params = addLora(pipeline.params.unet, { r: 2, loraAlpha: 2, targetModules: ['to_q', 'to_v'] }, generator);
  for (const { loraB } of Object.values(loraModules(params)))
    tidy(() => (loraB as Variable).assign(tensor(generator.randn(loraB.size), loraB.shape)));
  const path = `${out}/${name}.safetensors`;
  await saveLora(path, params, { prefix: 'unet' });
  dispose(loraTensors(params));
  return path;
}

const draw = async (from: StableDiffusionPipeline): Promise<number[]> => {
  const [image] = await from.generate({ prompt: 'a crab', numInferenceSteps: 1, height: 16, width: 16, seed: 0 });
  return [...image.data];
};

/** The pipeline with adapters, by the functions that change trees. */
async function adapted(...adapters: readonly (readonly [file: string, scale: number])[]) {
  let params = pipeline.params.unet;
  for (const [file, scale] of adapters) {
    const layers = await applyLora(params, await loadLora(file), { scale });
    params = await fuseLora(layers);
    dispose(loraTensors(layers));
  }
  return pipeline.withParams({ unet: params });
}

describe('withLora', () => {
  it('draws with the adapter that is loaded, and without it once it is unloaded', async () => {
    const file = await saveAdapter('a', 1);
    const [plain, expected] = [await draw(pipeline), await draw(await adapted([file, 1]))];
    expect(expected).not.toEqual(plain);
    const own = withLora(pipeline);
    await expectNoLeaks(() => own.loadLoraWeights(out, { weightName: 'a.safetensors' }));
    expect([own.getActiveAdapters(), own.getListAdapters()]).toEqual([['default_0'], { unet: ['default_0'] }]);
    expect(await draw(own)).toEqual(expected);
    own.unloadLoraWeights();
    expect(await draw(own)).toEqual(plain);
  });

  it('applies several adapters with their weights', async () => {
    const [a, b] = [await saveAdapter('a', 1), await saveAdapter('b', 2)];
    const own = withLora(pipeline);
    await own.loadLoraWeights(a, { adapterName: 'a' });
    await own.loadLoraWeights(b, { adapterName: 'b' });
    expect(own.getActiveAdapters()).toEqual(['b']);
    await own.setAdapters(['a', 'b'], [0.5, -1]);
    expect(await draw(own)).toEqual(await draw(await adapted([a, 0.5], [b, -1])));
    await own.deleteAdapters('a');
    expect(own.getListAdapters()).toEqual({ unet: ['b'] });
    expect(await draw(own)).toEqual(await draw(await adapted([b, -1])));
  });

  it('keeps fused adapters when they are unloaded, and undoes the fusion exactly', async () => {
    const file = await saveAdapter('a', 1);
    const own = withLora(pipeline);
    await own.loadLoraWeights(file);
    await own.fuseLora({ loraScale: 0.5 });
    expect([own.getActiveAdapters(), await draw(own)]).toEqual([[], await draw(await adapted([file, 0.5]))]);
    await own.unfuseLora();
    expect([own.getActiveAdapters(), await draw(own)]).toEqual([['default_0'], await draw(await adapted([file, 1]))]);
    await own.fuseLora();
    own.unloadLoraWeights();
    expect(await draw(own)).toEqual(await draw(await adapted([file, 1])));
  });

  it('refuses wrong names, weights and options, and stays as it was', async () => {
    const file = await saveAdapter('a', 1);
    const own = withLora(pipeline);
    await own.loadLoraWeights(file, { adapterName: 'a' });
    const before = await draw(own);
    await expect(own.loadLoraWeights(file, { adapterName: 'a' })).rejects.toThrow(
      "adapterName got 'a', expected a name",
    );
    await expect(own.loadLoraWeights(`${out}/none.safetensors`)).rejects.toThrow('none.safetensors');
    await expect(own.loadLoraWeights(file, { weight: 'a' } as object)).rejects.toThrow("'weight'");
    await expect(own.setAdapters(['b'])).rejects.toThrow(
      'got b, expected different names of adapters that are loaded: a',
    );
    await expect(own.setAdapters('a', [1, 2])).rejects.toThrow('weights got [1, 2], expected 1 finite numbers');
    await expect(own.setAdapters('a', NaN)).rejects.toThrow('weights got [NaN]');
    await expect(own.unfuseLora()).rejects.toThrow('got no fused adapters');
    await own.fuseLora();
    await expect(own.fuseLora()).rejects.toThrow('got fused adapters');
    expect(await draw(own)).toEqual(before);
  });
});
