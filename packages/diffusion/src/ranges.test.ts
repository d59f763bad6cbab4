import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '@alignprop/autograd-ext';
import { clipTextConfig, clipVisionConfig } from './clip/clip-config.js';
import type { ConfigInput } from './models/model-config.js';
import { AutoencoderKL } from './models/autoencoder-kl.js';
import { UNet2DConditionModel } from './models/unet-2d-condition.js';
import { schedulers } from './schedulers/create-scheduler.js';
import type { SchedulerConfig } from './schedulers/scheduler.js';

const absurd = [0, -1, NaN, Infinity, 1.5, 1e9, 2 ** 31, 2 ** 53];

/** Expects a quick result, or a quick error that begins with the name of the class and names the field. */
async function expectQuick(field: string, value: number, work: () => unknown): Promise<void> {
  const start = process.cpuUsage();
  const error = await Promise.resolve()
    .then(work)
    .then(
      () => undefined,
      (thrown: unknown) => thrown as Error,
    );
  const { user, system } = process.cpuUsage(start);
  expect((user + system) / 1e6, `${field} ${value}`).toBeLessThan(2);
  if (!error) return;
  expect(error.name, error.stack).not.toMatch(/TypeError|RangeError/);
  expect(error.message, `${field} ${value}`).toMatch(/^[A-Z]\w+(\.\w+)?: /);
  expect(error.message.length).toBeLessThan(1000);
}

const numbersOf = (config: object) =>
  Object.entries(config).filter(([, value]) => typeof value === 'number' || isNumbers(value));
const isNumbers = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((item) => typeof item === 'number');

const models = {
  UNet2DConditionModel: (config: ConfigInput) => new UNet2DConditionModel(config, {}).config,
  AutoencoderKL: (config: ConfigInput) => new AutoencoderKL(config, {}).config,
  CLIPTextModel: (config: ConfigInput) => clipTextConfig(config),
  CLIPVisionModel: (config: ConfigInput) => clipVisionConfig(config),
};

describe('numbers of configs', () => {
  beforeAll(() => useBackend('cpu'));

  it.each(Object.entries(models))(
    'of %s have a range that is checked before anything is allocated',
    async (_, read) => {
      const fields = numbersOf(read({}));
      expect(fields.length).toBeGreaterThan(5);
      for (const [field, given] of fields)
        for (const value of absurd)
          await expectQuick(field, value, () => read({ [field]: isNumbers(given) ? given.map(() => value) : value }));
      for (const field of ['layers_per_block', 'num_hidden_layers', 'block_out_channels', 'hidden_size'])
        if (fields.some(([name]) => name === field)) {
          const huge = field === 'block_out_channels' ? Array.from({ length: 1e6 }, () => 32) : 300_000;
          expect(() => read({ [field]: huge })).toThrow(new RegExp(`${field} got .*expected`));
        }
    },
  );

  it.each(Object.entries(schedulers))(
    'of %s have a range that is checked before anything is allocated',
    async (_, Class) => {
      const Scheduler = Class as new (config: SchedulerConfig) => { timesteps(count: number): unknown; config: object };
      for (const [field] of numbersOf(new Scheduler({}).config))
        for (const value of absurd)
          await expectQuick(field, value, () => new Scheduler({ [field]: value }).timesteps(10));
      for (const count of absurd) await expectQuick('count', count, () => new Scheduler({}).timesteps(count));
      expect(() => new Scheduler({ num_train_timesteps: 1e9 })).toThrow('num_train_timesteps got 1000000000, expected');
    },
  );
});
