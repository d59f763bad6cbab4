import { useBackend } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import { afterAll, beforeAll } from 'vitest';
import { folderPerTest } from '../../../../fixtures/folder-per-test.js';
import { tinyPipeline } from './tiny-run.js';

export { out } from '../../../../fixtures/folder-per-test.js';

/** The tiny pipeline, on tfjs's wasm backend; shared by the tests of a file that calls `tinySuite`. */
export let pipeline: StableDiffusionPipeline;

/** Loads the tiny pipeline once for the tests of the file, and gives each of them an empty folder. */
export function tinySuite(): void {
  folderPerTest();
  beforeAll(async () => {
    await useBackend('wasm');
    pipeline = await tinyPipeline();
  });
  afterAll(() => pipeline.dispose());
}
