import { memory } from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { TfjsEngine, useBackend, type Engine } from '@alignprop/autograd-ext';
import { tinyPipeline } from '../__fixtures__/tiny-run.js';
import { parseDDPOConfig } from './ddpo-config.js';
import { ddpoDryRun } from './ddpo-dry-run.js';
import { DDPOTrainer } from './trainer.js';

/** An engine that counts the calls of compiled functions by their weights. */
function countingEngine(): Engine & Record<'plain' | 'gradient', object[]> {
  const engine = Object.assign(new TfjsEngine(), { plain: [] as object[], gradient: [] as object[] });
  const { compile, compileVjp } = engine;
  return Object.assign(engine, {
    compile: (...given: Parameters<Engine['compile']>) => {
      const compiled = compile.apply(engine, given);
      return (...call: Parameters<typeof compiled>) => (engine.plain.push(call[0]), compiled(...call));
    },
    compileVjp: (...given: Parameters<Engine['compileVjp']>) => {
      const compiled = compileVjp.apply(engine, given);
      return (...call: Parameters<typeof compiled>) => (engine.gradient.push(call[0]), compiled(...call));
    },
  });
}

it('counts the images, UNet calls, optimizer steps and bytes of samples that an epoch then takes', async () => {
  await useBackend('cpu');
  const engine = countingEngine();
  const pipeline = (await tinyPipeline()).with({ engine });
  const config = parseDDPOConfig({
    ...{ num_epochs: 1, sample_num_steps: 2, sample_batch_size: 2, sample_num_batches_per_epoch: 2 },
    ...{ train_batch_size: 2, train_num_inner_epochs: 2, train_timestep_fraction: 0.5, height: 16, width: 16 },
  });
  let images = 0;
  let calls = 0;
  const rewardFunction = (_: unknown, prompts: readonly string[]) => {
    calls++;
    images += prompts.length;
    return prompts.map((_, i) => i);
  };
  const options = { engine: 'onnxruntime', maxMemory: 1e9 } as const;
  const ask = () => ddpoDryRun({ config, pipeline, rewardFunction, prompt: 'crab', engine: options });
  await ask(); // creates layouts and constants that are cached
  const tensors = memory().numTensors;
  const planned = await ask();
  expect(memory().numTensors).toBe(tensors);
  expect([calls, engine.plain, engine.gradient]).toEqual([2, [], []]);

  images = 0;
  const trainer = new DDPOTrainer({ config, pipeline, rewardFunction, promptFunction: () => 'crab' });
  for await (const _ of trainer.train());
  const unet = trainer.pipeline.unet.params;
  const countOf = (list: readonly object[]) => list.filter((params) => params === unet).length;
  expect(planned).toMatchObject({
    images,
    optimizerSteps: trainer.globalStep,
    unetCalls: { sampling: countOf(engine.plain), gradient: countOf(engine.gradient) },
  });
  trainer.dispose();
  const { hidden_size: width, max_position_embeddings: tokens } = pipeline.textEncoder.config;
  const [, ...latent] = pipeline.latentShape({ batch: 1, height: 16, width: 16 });
  const chain = 3 * latent.reduce((size, length) => size * length, 4);
  expect(planned.samples).toBe(images * (chain + 2 * 4 * tokens * width + 2 * 8));
  expect(planned.memory.activations).toBeGreaterThan(0);
});
