// What is imported from here is there in each test of the file that imports it.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { useBackend } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import { afterEach, beforeAll, beforeEach } from 'vitest';
import { tinyPipeline } from './tiny-run.js';

/** On wasm; one for all tests. */
export let pipeline: StableDiffusionPipeline;
/** An empty folder, another for each test. */
export let out: string;

beforeAll(async () => {
  await useBackend('wasm');
  pipeline = await tinyPipeline();
});
beforeEach(async () => void (out = await mkdtemp(join(tmpdir(), 'alignprop-'))));
afterEach(() => rm(out, { recursive: true, force: true }));
