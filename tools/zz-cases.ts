// @ts-nocheck
import * as tf from '@tensorflow/tfjs-core';
import { readdirSync, readFileSync } from 'node:fs';
import { createEngine } from '@alignprop/autograd-ext';
import { StableDiffusionPipeline } from '@alignprop/diffusion';
import { CLIPTokenizer } from '@alignprop/diffusion/clip';
import { AlignPropTrainer, DDPOTrainer, parseAlignPropConfig, parseDDPOConfig, evaluator } from '@alignprop/trainer';
const ddpo = {
  num_epochs: 3,
  sample_num_steps: 2,
  sample_batch_size: 2,
  sample_num_batches_per_epoch: 1,
  train_batch_size: 2,
  sample_guidance_scale: 1,
};
const engine = await createEngine({ engine: 'tfjs' });
const pipeline = await StableDiffusionPipeline.fromPretrained('model', { engine });
const run = async (t) => {
  const out = [];
  for await (const m of t.train()) out.push(m.rewardMean);
  return out;
};
const log = { info: (m) => console.log('   info', m), warn: (m) => console.log('   warn', m) };
const say = (name, ...x) => console.log('##', name, ...x);
for (const name of ['tokenizer-added-legacy', 'tokenizer-added-v5']) {
  const tokenizer = await CLIPTokenizer.fromPretrained(`${name}/tokenizer`);
  const expected = JSON.parse(readFileSync(`${name}/expected_ids.json`, 'utf8'));
  let bad = 0,
    n = 0;
  for (const [prompt, ids] of Object.entries(expected)) {
    n++;
    const { inputIds } = tokenizer.encode([prompt]);
    const values = inputIds.dataSync ? inputIds.dataSync() : inputIds;
    const got = Array.from(typeof values[0] === 'number' ? values : values[0], Number);
    if (JSON.stringify(got) !== JSON.stringify(ids)) {
      bad++;
      console.log(prompt, got.slice(0, 12), ids?.slice?.(0, 12));
    }
  }
  say(name, `${n} prompts, ${bad} differ`);
}
say('ddpo-checkpoints', parseDDPOConfig({ save_freq: 1, num_checkpoint_limit: 5, resume_from: '' }).save_freq);
const reward = (images, prompts) => prompts.map((_, i) => i);
const make = (config, rewardFunction = reward) =>
  new DDPOTrainer({
    pipeline,
    promptFunction: () => 'crab',
    rewardFunction,
    logger: log,
    config: { ...ddpo, ...config },
  });
const attempt = (name, f) => f().catch((e) => say(name, 'FAILED', e));
await attempt('ddpo-checkpoints', async () => {
  await run(make({ num_epochs: 4, output_dir: 'whole' }));
  await run(make({ output_dir: 'cut' }));
  await run(make({ num_epochs: 4, output_dir: 'cut', resume_from: 'cut' }));
  const bytes = (d) => readFileSync(`${d}/pytorch_lora_weights.safetensors`);
  say('ddpo-checkpoints', 'to the bit:', bytes('whole').equals(bytes('cut')));
});
let n = 0;
await attempt('ddpo-error', async () => {
  const error = await run(
    make({ output_dir: 'o', reward_retries: 0 }, async (images, prompts) => {
      if (++n === 3) throw new Error('fetch failed: ETIMEDOUT');
      return prompts.map((_, i) => i);
    }),
  ).catch((e) => e);
  say('ddpo-error-loses-all', error.message, readdirSync('o/checkpoints'));
});
for (const f of [
  () => ['0.5', '0.7'],
  () => [[0.5], [0.7]],
  () => [[0.5, 0.7], {}],
  () => {},
  () => 3,
  () => ({ scores: [1, 2] }),
  () => [null, 1],
])
  say('ddpo-reward-types', String(f), await run(make({ num_epochs: 1, reward_retries: 0 }, f)).catch((e) => e.message));
const short = { num_epochs: 3, sample_num_steps: 2, truncated_rand_backprop_minmax: [0, 2], sample_guidance_scale: 1 };
let k = 0;
const trackers = [
  {
    log: async () => {
      if (k++ === 1) throw new Error('wandb: network error');
    },
    close() {},
  },
];
await attempt('tracker', async () =>
  say(
    'tracker-throws',
    (
      await run(
        new AlignPropTrainer({
          pipeline,
          promptFunction: () => 'crab',
          logger: log,
          rewardFunction: (x) => tf.mean(x, [1, 2, 3]),
          trackers,
          config: { ...short, save_freq: 10, output_dir: 't' },
        }),
      )
    ).length,
    readdirSync('t/checkpoints'),
  ),
);
k = 0;
await attempt('hook', async () =>
  say(
    'tracker-throws hook',
    (
      await run(
        new AlignPropTrainer({
          pipeline,
          promptFunction: () => 'crab',
          logger: log,
          rewardFunction: (x) => tf.mean(x, [1, 2, 3]),
          imageSamplesHook: async () => {
            if (k++ === 1) throw new Error('hook: error');
          },
          config: { ...short, save_freq: 10, log_image_freq: 1, output_dir: 't2' },
        }),
      )
    ).length,
    readdirSync('t2/checkpoints'),
  ),
);
for (const name of ['tfjs', 'onnxruntime'])
  await attempt(name, async () => {
    const other = await StableDiffusionPipeline.fromPretrained('model', {
      engine: await createEngine({ engine: name }),
    });
    let step = 0;
    const w = tf.variable(tf.scalar(1));
    const closure = (x) => tf.mul(tf.add(tf.mul(tf.mean(x, [1, 2, 3]), 0), 1), step + 1);
    const variable = (x) => tf.mul(tf.add(tf.mul(tf.mean(x, [1, 2, 3]), 0), 1), w);
    for (const [kind, rewardFunction] of Object.entries({ closure, variable })) {
      step = 0;
      w.assign(tf.scalar(1));
      const got = [];
      for await (const { rewardMean } of new AlignPropTrainer({
        pipeline: other,
        promptFunction: () => 'crab',
        rewardFunction,
        config: short,
      }).train()) {
        got.push(rewardMean);
        step++;
        w.assign(tf.scalar(step + 1));
      }
      say('reward-weight-changes', name, kind, got);
    }
  });
await attempt('eval', async () => {
  const sizes = [];
  const evaluate = evaluator(engine, {
    config: parseAlignPropConfig({ sample_num_steps: 50 }),
    prompts: Array.from({ length: 700 }, (_, i) => `prompt ${i}`),
    rewardFunction: (x) => {
      sizes.push(tf.memory().numBytes);
      return tf.mean(x, [1, 2, 3]);
    },
  });
  const { mean } = await evaluate({
    generate: async () => ({ images: tf.fill([1, 512, 512, 3], 0.5), latents: tf.zeros([1, 64, 64, 4]) }),
  });
  say('eval-memory', mean, sizes.length, sizes[0], sizes.at(-1), Math.max(...sizes));
});
