import { join } from 'node:path';
import { dispose, memory, type Variable } from '@tensorflow/tfjs-core';
import { mapLeaves, random, trainable } from '@alignprop/autograd-ext';
import { directory, openSafetensors } from '@alignprop/autograd-ext/weights';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import { addDora, addLora, applyLora, loadLora, LoraLayer, loraTensors } from '@alignprop/lora';
import { describe, expect, it } from 'vitest';
import { brightness, collect, drawnValues, oneStepConfig, tinyConfig, tinyTrainer } from '../__fixtures__/tiny-run.js';
import { out, pipeline, tinySuite } from '../__fixtures__/tiny-suite.js';
import type { AlignPropConfigInput } from '../config/config.js';
import type { DDPOConfigInput } from '../ddpo/ddpo-config.js';
import { DDPOTrainer } from '../ddpo/trainer.js';
import { prefixed } from '../model/trained-weights.js';
import { dryRun } from '../run/dry-run.js';
import { trainableDora } from '../trainable-dora.js';
import { parseAlignPropConfig } from '../config/config.js';

tinySuite();

const config: AlignPropConfigInput = {
  ...tinyConfig,
  ...oneStepConfig,
  lora_kind: 'dora',
  lora_target_modules: ['to_v', 'conv1', 'downsamplers.0.conv', 'time_emb_proj'],
  lora_alpha: 6,
  train_learning_rate: 0.01,
  num_epochs: 3,
};
const both: AlignPropConfigInput = { ...config, train_text_encoder: true };

/** All trained variables, those of the text encoder included. */
const variablesOf = ({ unet, textEncoder }: StableDiffusionPipeline): Record<string, Variable> => ({
  ...trainable(unet.params),
  ...prefixed('text_encoder', trainable(textEncoder.params)),
});
const values = (trained: StableDiffusionPipeline) =>
  Object.fromEntries(Object.entries(variablesOf(trained)).map(([path, x]) => [path, [...x.dataSync()]]));

/** Trains to the end, or up to a step, and returns the metrics and the values of all trained variables. */
async function run(options: AlignPropConfigInput, lastStep = Infinity) {
  const given = await trainableDora(pipeline, options);
  const trainer = tinyTrainer({ pipeline: given, config: options });
  const metrics = [];
  for await (const { seconds: _, ...step } of trainer.train()) {
    metrics.push(step);
    if (step.globalStep === lastStep) break;
  }
  const result = { metrics, values: values(given) };
  trainer.dispose();
  dispose(variablesOf(given));
  return result;
}

describe('training DoRA', () => {
  it('moves A, B and m of linear layers and convolutions, and resumes bit for bit', async () => {
    const fresh = await trainableDora(pipeline, both);
    const initial = values(fresh);
    dispose(variablesOf(fresh));
    const straight = await run(both);
    const before = memory().numTensors; // the engine now has the frozen weights in memory
    const first = await run({ ...both, output_dir: out }, 0);
    const second = await run({ ...both, output_dir: out, resume_from: out });
    expect([...first.metrics, ...second.metrics]).toEqual(straight.metrics);
    expect(second.values).toEqual(straight.values);
    await Promise.resolve();
    expect(memory().numTensors).toBe(before);

    expect(Object.keys(straight.values)).toEqual(Object.keys(initial));
    const kinds = ['lora_A.weight', 'lora_B.weight', 'lora_magnitude_vector'];
    for (const [path, value] of Object.entries(straight.values)) {
      expect(kinds.some((kind) => path.endsWith(kind))).toBe(true);
      expect(value, path).not.toEqual(initial[path]);
    }
    const modules = ['text_encoder.', '.conv1.', '.downsamplers.0.conv.', '.time_emb_proj.', '.to_v.'];
    for (const module of modules) expect(Object.keys(initial).join(), module).toContain(module);
  });

  it("writes diffusers' newer layout, which loads and draws what the trainer draws", async () => {
    const given = await trainableDora(pipeline, both);
    const trainer = tinyTrainer({ pipeline: given, config: { ...both, num_epochs: 1, output_dir: out } });
    await collect(trainer);
    const file = join(out, 'pytorch_lora_weights.safetensors');
    const { tensors } = await openSafetensors(directory(out), 'pytorch_lora_weights.safetensors');
    const m = [...tensors].filter(([key]) => key.includes('lora_magnitude_vector'));
    expect(m.map(([, { shape }]) => shape.length).sort()).toEqual(expect.arrayContaining([1, 4]));
    const unet = await applyLora(pipeline.unet.params, await loadLora(file));
    const text = await applyLora(pipeline.textEncoder.params, await loadLora(file, { prefix: 'text_encoder' }));
    const loaded = trainer.pipeline.with({
      unet: pipeline.unet.withParams(unet),
      textEncoder: pipeline.textEncoder.withParams(text),
    });
    expect(await drawnValues(loaded)).toEqual(await drawnValues(trainer.pipeline));
    expect(await drawnValues(loaded)).not.toEqual(await drawnValues(trainer.pipeline.with({ unet: pipeline.unet })));
    trainer.dispose();
    dispose([variablesOf(given), loraTensors(unet), loraTensors(text)]);
  });

  it('averages m too, and its penalty compares with the model without the adapter', async () => {
    const given = await trainableDora(pipeline, config);
    const guards = { ...config, ema_decay: 0.9, kl_weight: 0.1 };
    const trainer = tinyTrainer({ pipeline: given, config: guards });
    const metrics = await collect(trainer);
    expect(metrics[0]!.kl).toBeCloseTo(0, 10); // a new adapter does not change the prediction
    expect(metrics[2]!.kl).toBeGreaterThan(1e-8);
    const trained = values(given);
    const averages = await trainer.averaged(async () => values(given));
    for (const path of Object.keys(trained)) expect(averages[path], path).not.toEqual(trained[path]);
    expect(values(given)).toEqual(trained);
    trainer.dispose();
    dispose(variablesOf(given));
  });

  it('is refused by name when a checkpoint has the other kind', async () => {
    await run({ ...config, num_epochs: 1, output_dir: out });
    const lora = { ...config, lora_kind: 'lora' as const, num_epochs: 2, resume_from: out };
    const trainer = tinyTrainer({ pipeline, config: lora });
    await expect(collect(trainer)).rejects.toThrow('lora_kind got "lora", expected "dora"');
    trainer.dispose();
    const other = join(out, 'lora');
    const plain = tinyTrainer({ pipeline, config: { ...lora, resume_from: '', num_epochs: 1, output_dir: other } });
    await collect(plain);
    plain.dispose();
    await expect(run({ ...config, resume_from: other })).rejects.toThrow('lora_kind got "dora", expected "lora"');
  });

  it('counts m in a dry run, which frees what it creates', async () => {
    const before = memory().numTensors;
    const inputs = { pipeline, rewardFunction: brightness, engine: { engine: 'tfjs', maxMemory: 1e9 } } as const;
    const run = (lora_kind: 'lora' | 'dora') =>
      dryRun({ ...inputs, config: parseAlignPropConfig({ ...config, lora_kind }) });
    const [dora, lora] = [await run('dora'), await run('lora')];
    const given = await trainableDora(pipeline, config);
    const m = Object.entries(trainable(given.unet.params)).filter(([path]) => path.endsWith('vector'));
    expect(dora.trainableParameters - lora.trainableParameters).toBe(m.reduce((sum, [, { size }]) => sum + size, 0));
    dispose(variablesOf(given));
    expect(memory().numTensors).toBe(before);
  });

  it('gives DDPOTrainer an adapter too', async () => {
    const options: DDPOConfigInput = { loraKind: 'dora', loraTargetModules: ['conv1'], numEpochs: 1 };
    const given = await trainableDora(pipeline, options);
    const trainer = new DDPOTrainer({
      config: options,
      pipeline: given,
      promptFunction: () => 'cat',
      rewardFunction: () => [0],
    });
    expect(variablesOf(trainer.pipeline)).toEqual(variablesOf(given));
    trainer.dispose();
    dispose(variablesOf(given));
  });

  it('needs an adapter of this kind on the pipeline', async () => {
    expect(() => tinyTrainer({ pipeline, config })).toThrow(/Pass `await trainableDora\(pipeline, config\)`/);
    const target = { r: 1, loraAlpha: 1, targetModules: ['to_q'] };
    const withUNet = (params: StableDiffusionPipeline['unet']['params']) =>
      pipeline.with({ unet: pipeline.unet.withParams(params) });
    const lora = addLora(pipeline.unet.params, target, random(0));
    expect(() => tinyTrainer({ pipeline: withUNet(lora), config })).toThrow(/lora_kind got 'dora', .* kind 'lora'/);
    const dora = await addDora(pipeline.unet.params, target, random(0));
    expect(() => tinyTrainer({ pipeline: withUNet(dora) })).toThrow(/lora_kind got 'lora', .* kind 'dora'/);
    const columns = mapLeaves(dora, (_, leaf) =>
      leaf instanceof LoraLayer ? new LoraLayer({ ...leaf, dora: { ...leaf.dora!, axis: 'input' } }) : leaf,
    );
    expect(() => tinyTrainer({ pipeline: withUNet(columns), config })).toThrow(/has lengths of columns/);
    expect(() => parseAlignPropConfig({ lora_kind: 'dora', use_lora: false })).toThrow(/lora_kind: got 'dora'/);
    dispose([loraTensors(lora), loraTensors(dora)]);
  });
});
