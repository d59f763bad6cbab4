// Runs the packages in a real browser: no module of Node, weights from memory, the wasm backend.
import { builtinModules } from 'node:module';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { describe, expect, it } from 'vitest';
import { TfjsEngine, useBackend } from '@alignprop/autograd-ext';
import { StableDiffusionPipeline } from '@alignprop/diffusion';
import { jpegCompressibility } from '@alignprop/rewards';
import { findChromium } from './chromium.js';
import { drawing } from './drawing.js';
import { servePage } from './page-server.js';

const model = fileURLToPath(new URL('../../packages/cli/models/tiny-emoji', import.meta.url));
const chromium = findChromium();

/** Bundles the page's program from the packages' sources. */
async function bundle(): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('page.ts', import.meta.url))],
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'browser',
    conditions: ['@alignprop/source'],
    external: ['onnxruntime-*', 'nsfwjs/*', 'undici', 'node:*', ...builtinModules],
    logLevel: 'silent',
  });
  return outputFiles[0]!.text;
}

describe('the packages in a browser', () => {
  it('draw the image and compute the reward that Node does', async ({ skip }) => {
    skip(!chromium, 'Chromium is not installed: install it (apt-get install chromium) or set CHROMIUM to its path');
    await useBackend('wasm');
    const pipeline = await StableDiffusionPipeline.fromPretrained(model, { engine: new TfjsEngine() });
    const { images } = await pipeline.generate(drawing.prompt, { ...drawing.options, outputType: 'tensor' });
    const rewards = jpegCompressibility()(images, [drawing.prompt], []);
    const expected = [...rewards.dataSync(), ...images.dataSync()];
    const posted = await servePage({ chromium: chromium!, program: await bundle(), model });
    const actual = new Float32Array(Uint8Array.from(posted).buffer);
    expect(actual).toHaveLength(expected.length);
    actual.forEach((value, i) => expect(Math.abs(value - expected[i]!), `value ${i}`).toBeLessThan(1e-4));
  });
});
