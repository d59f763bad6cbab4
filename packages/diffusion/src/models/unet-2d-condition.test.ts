import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  cast,
  concat,
  mul,
  randomNormal,
  reshape,
  slice,
  sum,
  tensor1d,
  tensor4d,
  type Tensor,
} from '@tensorflow/tfjs-core';
import type { Engine } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { engineNames, startEngine } from '../../../../fixtures/engines.js';
import { expectClose, fixtureJson, fixturePath, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';
import { unetFunction } from './__fixtures__/model-functions.js';
import { UNet2DConditionModel } from './unet-2d-condition.js';

describe.each(engineNames)('UNet2DConditionModel on %s', (name) => {
  describe.each(['sd15-tiny', 'sd2-tiny'])('%s', (folder) => {
    let engine: Engine;
    let model: UNet2DConditionModel;
    let golden: Record<string, Tensor>;
    beforeAll(async () => {
      engine = await startEngine(name);
      model = await UNet2DConditionModel.fromPretrained(fixturePath(`${folder}/model`), { subfolder: 'unet' });
      golden = await fixtureTensors(`${folder}/unet.safetensors`);
    });
    afterAll(() => engine.dispose());

    const inputs = (i: number) => [
      toNHWC(golden[`${i}.sample`]!),
      cast(golden[`${i}.timestep`]!, 'float32'),
      golden[`${i}.encoder_hidden_states`]!,
    ];
    const cases = fixtureJson<{ unet: { batch: number; height: number; width: number; text_len: number }[] }>(
      `${folder}/case.json`,
    ).unet;

    it.each(cases.map((c, i) => [`${c.batch} x ${c.height} x ${c.width}, ${c.text_len} tokens`, i] as const))(
      'computes the output and gradients of diffusers: %s',
      async (_, i) => {
        const [out] = await engine.compile(unetFunction(model))(model.params, ...inputs(i));
        expectClose(toNCHW(out!), golden[`${i}.out`]!, 1e-4, 'out');
        const run = engine.compileVjp(unetFunction(model), { wrt: [0, 2] });
        const { value, inputs: gradients } = await run(model.params, inputs(i), toNHWC(golden[`${i}.R`]!));
        expectClose(toNCHW(value), golden[`${i}.out`]!, 1e-4, 'value');
        expectClose(reshape(sum(mul(toNCHW(value), golden[`${i}.R`]!)), [1]), golden[`${i}.loss`]!, 1e-4, 'loss');
        expectClose(toNCHW(gradients[0]!), golden[`${i}.grad_sample`]!, 1e-3, 'grad_sample');
        expectClose(gradients[1]!, golden[`${i}.grad_encoder_hidden_states`]!, 1e-3, 'grad_encoder_hidden_states');
      },
    );

    it('leaks no tensor, forward or backward', async () => {
      const xs = inputs(0);
      await engine.compile(unetFunction(model))(model.params, ...xs);
      await engine.compileVjp(unetFunction(model), { wrt: [0] })(model.params, xs);
      await expectNoLeaks(() => engine.compile(unetFunction(model))(model.params, ...xs));
      await expectNoLeaks(async () => {
        const {
          value,
          aux,
          inputs: gradients,
          params,
        } = await engine.compileVjp(unetFunction(model), { wrt: [0, 2] })(model.params, xs);
        return [value, ...aux, ...gradients, ...Object.values(params)];
      });
    });

    it('computes each sample of a batch as it computes the sample alone', async () => {
      const run = engine.compile(unetFunction(model));
      const sample = randomNormal([3, 6, 10, 4], 0, 1, 'float32', 1);
      const context = randomNormal([3, 7, golden['0.encoder_hidden_states']!.shape[2]!], 0, 1, 'float32', 2);
      const times = [3, 411, 990];
      const [together] = await run(model.params, sample, tensor1d(times), context);
      const alone = await Promise.all(
        times.map(
          async (t, i) => (await run(model.params, slice(sample, i, 1), tensor1d([t]), slice(context, i, 1)))[0]!,
        ),
      );
      expectClose(together!, concat(alone), 1e-5, 'batch');
      const [same] = await run(model.params, sample, tensor1d([411]), context);
      const [repeated] = await run(model.params, sample, tensor1d([411, 411, 411]), context);
      // Not bit-equal: matrix products with one and with three rows sum in different orders.
      expectClose(same!, repeated!, 1e-5, 'one timestep for all');
    });

    it('accepts sizes that are not divisible by its downsampling factor', async () => {
      const sample = tensor4d(new Float32Array(5 * 11 * 4).fill(0.5), [1, 5, 11, 4]);
      const [out] = await engine.compile(unetFunction(model))(
        model.params,
        sample,
        tensor1d([7]),
        slice(golden['0.encoder_hidden_states']!, 0, 1),
      );
      expect(out!.shape).toEqual([1, 5, 11, 4]);
      expect(out!.dataSync().every(Number.isFinite)).toBe(true);
    });
  });
});

describe.each(engineNames)('UNet2DConditionModel with added conditions on %s', (name) => {
  const models = [
    { folder: 'sdxl-tiny', path: 'sdxl-tiny/model/unet', conditions: ['text_embeds', 'time_ids'] },
    { folder: 'lcm', path: 'lcm/overlay/unet', conditions: ['timestep_cond'] },
  ];
  const cases = models.flatMap((model) => {
    const { unet } = fixtureJson<{ unet: object[] }>(`${model.folder}/case.json`);
    return unet.map((_, i) => ({ ...model, i }));
  });
  let engine: Engine;
  beforeAll(async () => {
    engine = await startEngine(name);
  });
  afterAll(() => engine.dispose());

  const inputsOf = (golden: Record<string, Tensor>, i: number) => [
    toNHWC(golden[`${i}.sample`]!),
    cast(golden[`${i}.timestep`]!, 'float32'),
    golden[`${i}.encoder_hidden_states`]!,
  ];

  it.each(cases)('computes the output and gradients of diffusers: $folder $i', async (model) => {
    const { folder, path, conditions, i } = model;
    const golden = await fixtureTensors(`${folder}/unet.safetensors`);
    const unet = await UNet2DConditionModel.fromPretrained(fixturePath(path));
    const inputs = [...inputsOf(golden, i), ...conditions.map((condition) => golden[`${i}.${condition}`]!)];
    const run = engine.compileVjp(unetFunction(unet), { wrt: [0, 2, 3] });
    const { value, inputs: gradients } = await run(unet.params, inputs, toNHWC(golden[`${i}.R`]!));
    expectClose(toNCHW(value), golden[`${i}.out`]!, 1e-4, 'out');
    expectClose(toNCHW(gradients[0]!), golden[`${i}.grad_sample`]!, 1e-3, 'grad_sample');
    expectClose(gradients[1]!, golden[`${i}.grad_encoder_hidden_states`]!, 1e-3, 'grad_encoder_hidden_states');
    expectClose(gradients[2]!, golden[`${i}.grad_${conditions[0]}`]!, 1e-3, 'grad_condition');
  });

  it('leaves the embedding of the guidance scale out where it is not given, as diffusers does', async () => {
    const golden = await fixtureTensors('lcm/unet.safetensors');
    const unet = await UNet2DConditionModel.fromPretrained(fixturePath('lcm/overlay/unet'));
    const [out] = await engine.compile(unetFunction(unet))(unet.params, ...inputsOf(golden, 0));
    expectClose(toNCHW(out!), golden['0.out_without_timestep_cond']!, 1e-4, 'out');
  });
});
