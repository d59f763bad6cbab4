// Runs the packages in a real browser: no module of Node, weights from memory, the wasm backend.
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { TfjsEngine, useBackend } from '@alignprop/autograd-ext';
import { StableDiffusionPipeline } from '@alignprop/diffusion';
import { jpegCompressibility } from '@alignprop/rewards';
import { bundlePage } from './bundle-page.js';
import { findChromium } from './chromium.js';
import { drawing } from './drawing.js';
import { servePage } from './page-server.js';

const model = fileURLToPath(new URL('../../packages/cli/models/tiny-emoji', import.meta.url));
const chromium = findChromium();

describe('the packages in a browser', () => {
  it('draw the image and compute the reward that Node does', async ({ skip }) => {
    skip(!chromium, 'Chromium is not installed: install it (apt-get install chromium) or set CHROMIUM to its path');
    await useBackend('wasm');
    const pipeline = await StableDiffusionPipeline.fromPretrained(model, { engine: new TfjsEngine() });
    const { images } = await pipeline.generate(drawing.prompt, { ...drawing.options, outputType: 'tensor' });
    const rewards = jpegCompressibility()(images, [drawing.prompt], []);
    const expected = [...rewards.dataSync(), ...images.dataSync()];
    const posted = await servePage({ chromium: chromium!, program: await bundlePage("import './page.ts';"), model });
    const actual = new Float32Array(Uint8Array.from(posted).buffer);
    expect(actual).toHaveLength(expected.length);
    actual.forEach((value, i) => expect(Math.abs(value - expected[i]!), `value ${i}`).toBeLessThan(1e-4));
  });
});
