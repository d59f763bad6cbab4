// Imported by a test file, loads the tiny pipeline once for all of its tests and gives each test an empty folder.
import { useBackend } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import { beforeAll } from 'vitest';
import { tinyPipeline } from './tiny-run.js';

export { out } from '../../../../fixtures/folder-per-test.js';

/** The tiny pipeline, on tfjs's wasm backend; shared by the tests of a file. */
export let pipeline: StableDiffusionPipeline;

beforeAll(async () => {
  await useBackend('wasm');
  pipeline = await tinyPipeline();
});
