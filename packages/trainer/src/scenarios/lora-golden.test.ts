import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  flatten,
  random,
  trainable,
  type Engine,
  type ModelFunction,
  type Params,
  type StoredTensor,
} from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { directory, openSafetensors } from '@alignprop/autograd-ext/weights';
import { unet2DCondition, UNet2DConditionModel } from '@alignprop/diffusion';
import {
  addLora,
  applyLora,
  fuseLora,
  loadLora,
  loraTensors,
  removeLora,
  saveLora,
  scaleLora,
  unfuseLora,
  type LoraFormat,
} from '@alignprop/lora';
import {
  cast,
  dispose,
  mul,
  reshape,
  sum,
  tensor,
  type Tensor,
  type Tensor3D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { engineNames, startEngine } from '../../../../fixtures/engines.js';
import { expectClose, fixtureJson, fixturePath, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';

// Adapters of peft on the UNet of diffusers. The packages lora and diffusion do not import each other, so it is here.

const goldenFiles: Readonly<Record<string, string>> = {
  trl: 'trl/pytorch_lora_weights.safetensors',
  diffusers: 'diffusers/pytorch_lora_weights.safetensors',
  kohya: 'kohya/lora.safetensors',
  peft: 'peft',
};

interface Case {
  readonly base: string;
  readonly fuse_scale: number;
  readonly n_modules: number;
  readonly formats: string[];
  readonly torch_f32_vs_f64: { readonly lora_grads: { readonly max_abs: number } };
}

const largest = (x: Tensor) => Math.max(...Array.from(x.dataSync(), Math.abs));

describe.each(engineNames)('LoRA on %s', (backend) => {
  describe.each(['lora-r4', 'lora-r4-sd2'])('%s', (folder) => {
    const {
      base,
      fuse_scale: fuseScale,
      n_modules: moduleCount,
      formats,
      torch_f32_vs_f64: noise,
    } = fixtureJson<Case>(`${folder}/case.json`);
    const floor = noise.lora_grads.max_abs; // how far PyTorch's own gradients in float32 are from those in float64
    const isZero = (name: string) => largest(golden[name]!) < floor;
    let engine: Engine;
    let unet: UNet2DConditionModel;
    let golden: Record<string, Tensor>;
    let model: ModelFunction;
    const load = (format: string) => loadLora(fixturePath(`${folder}/${goldenFiles[format]}`));
    const inputs = () => [toNHWC(golden.sample!), cast(golden.timestep!, 'float32'), golden.encoder_hidden_states!];
    const run = async (params: Params) => {
      const xs = inputs();
      const outputs = await engine.compile(model)(params, ...xs);
      const out = toNCHW(outputs[0]!);
      dispose([...xs.slice(0, 2), ...outputs]);
      return out;
    };

    beforeAll(async () => {
      engine = await startEngine(backend);
      unet = await UNet2DConditionModel.fromPretrained(join(fixturePath(folder), base), { subfolder: 'unet' });
      golden = await fixtureTensors(`${folder}/io.safetensors`);
      model = (params, sample, timestep, context) =>
        unet2DCondition(unet.config, params, sample as Tensor4D, timestep!, context as Tensor3D);
    });
    afterEach(() => engine.dispose());

    it('leaves the output of the base as it is without an adapter', async () => {
      expectClose(await run(unet.params), golden.out_base!, 1e-4, 'out_base');
    });

    it.each(formats)('loads a file of %s, with its output, loss and every gradient', async (format) => {
      const params = await applyLora(unet.params, await load(format), { trainable: true });
      expect(Object.keys(trainable(params))).toHaveLength(2 * moduleCount);
      const {
        value,
        inputs: gradients,
        params: ofParams,
      } = await engine.compileVjp(model, { wrt: [0] })(params, inputs(), toNHWC(golden.R!));
      expectClose(toNCHW(value), golden.out!, 1e-4, 'out');
      expectClose(reshape(sum(mul(toNCHW(value), golden.R!)), [1]), golden.loss!, 1e-4, 'loss');
      expectClose(toNCHW(gradients[0]!), golden.grad_sample!, 1e-3, 'grad_sample');
      const expected = Object.keys(golden).filter((name) => /^grad\..*lora_/.test(name));
      expect(expected).toHaveLength(2 * moduleCount);
      const [zero, usual] = [expected.filter(isZero), expected.filter((name) => !isZero(name))];
      for (const name of usual) expectClose(ofParams[name.slice('grad.'.length)]!, golden[name]!, 1e-3, name);
      for (const name of zero) expect(largest(ofParams[name.slice('grad.'.length)]!), name).toBeLessThan(floor);
      // Attention over a single position has weight 1 whatever q and k are.
      expect(
        zero.every((name) => /^grad\.mid_block\..*\.attn1\.to_[qk]\./.test(name)),
        zero.join(),
      ).toBe(true);
      dispose(loraTensors(params));
    });

    it('scales, fuses, unfuses and removes an adapter', async () => {
      const params = await applyLora(unet.params, await load('trl'));
      const scaled = await applyLora(unet.params, await load('trl'), { scale: fuseScale });
      expect(Object.keys(trainable(params))).toEqual([]);
      expectClose(await run(scaleLora(params, fuseScale)), golden.out_scaled!, 1e-4, 'out_scaled by scaleLora');
      expectClose(await run(scaled), golden.out_scaled!, 1e-4, 'out_scaled by applyLora');
      const fused = await fuseLora(params, { scale: fuseScale });
      expectClose(await run(fused), golden.out_fused!, 1e-4, 'out_fused');
      for (const [name, expected] of Object.entries(golden).filter(([key]) => key.startsWith('fused_weight.'))) {
        const weight = flatten(fused)[`${name.slice('fused_weight.'.length)}.weight`] as StoredTensor;
        expectClose(tensor(await weight.read(), [...weight.shape]), expected, 1e-6, name);
      }
      expectSameLeaves(unfuseLora(fused), params);
      expectClose(await run(unfuseLora(fused)), golden.out!, 1e-4, 'out after unfusing');
      expectSameLeaves(removeLora(fused), unet.params);
      dispose([loraTensors(params), loraTensors(scaled)]);
    });

    it('does not change the output with a new adapter, and leaks no tensors', async () => {
      await expectNoLeaks(async () => {
        const config = { r: 4, loraAlpha: 4, targetModules: ['to_q', 'to_k', 'to_v', 'to_out.0'] };
        const params = addLora(unet.params, config, random(0));
        expect(Object.keys(loraTensors(params))).toHaveLength(2 * moduleCount);
        const out = await run(params);
        expectClose(out, golden.out_base!, 1e-4, 'out_base');
        engine.dispose();
        return [loraTensors(params), out];
      });
    });

    const written: readonly [LoraFormat, string][] = [
      ['diffusers-old', 'trl'],
      ['diffusers', 'diffusers'],
      ['kohya', 'kohya'],
      ['peft', 'peft'],
    ];
    it.each(written.filter(([, name]) => formats.includes(name)))(
      'writes %s files equal to those of the reference',
      async (format, name) => {
        const out = await mkdtemp(join(tmpdir(), 'lora-'));
        const params = await applyLora(unet.params, await load('trl'));
        await saveLora(format === 'peft' ? out : join(out, 'lora.safetensors'), params, { format });
        const file = format === 'peft' ? 'adapter_model.safetensors' : 'lora.safetensors';
        const reference = goldenFiles[name]! + (format === 'peft' ? '/adapter_model.safetensors' : '');
        await expectSameFile(join(out, file), fixturePath(`${folder}/${reference}`));
        if (format === 'peft')
          await expectSameConfig(join(out, 'adapter_config.json'), fixturePath(`${folder}/peft/adapter_config.json`));
        dispose(loraTensors(params));
        await rm(out, { recursive: true });
      },
    );
  });
});

/** The same objects, so that nothing was computed and nothing was rounded. */
function expectSameLeaves(actual: Params, expected: Params): void {
  const [a, e] = [flatten(actual), flatten(expected)];
  expect(Object.keys(a)).toEqual(Object.keys(e));
  expect(Object.keys(e).filter((path) => a[path] !== e[path])).toEqual([]);
}

/**
 * Expects the same names in the same order, dtypes, shapes, values and metadata. The order of the target modules is
 * ignored: peft has a set of them.
 */
async function expectSameFile(actual: string, expected: string): Promise<void> {
  const [a, e] = [await open(actual), await open(expected)];
  expect(describeTensors(a.tensors)).toEqual(describeTensors(e.tensors));
  expect(parseMetadata(a.metadata)).toEqual(parseMetadata(e.metadata));
  for (const [name, stored] of e.tensors) expect(await a.tensors.get(name)!.read(), name).toEqual(await stored.read());
}

const open = (path: string) => openSafetensors(directory('/'), path);
const describeTensors = (tensors: ReadonlyMap<string, StoredTensor>) =>
  [...tensors].map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
const parseMetadata = ({ lora_adapter_metadata: json, ...rest }: Record<string, string>) => ({
  ...rest,
  ...(json && sortTargets(json)),
});

function sortTargets(json: string): Record<string, unknown> {
  const entries = Object.entries(JSON.parse(json) as Record<string, unknown>);
  return Object.fromEntries(
    entries.map(([key, value]) => [key, key.endsWith('target_modules') ? [...(value as string[])].sort() : value]),
  );
}

/** Expects the same configuration, except the Python class (`auto_mapping`), which is not written here. */
async function expectSameConfig(actual: string, expected: string): Promise<void> {
  const [a, e] = await Promise.all([actual, expected].map(async (path) => sortTargets(await readFile(path, 'utf8'))));
  expect(a).toEqual({ ...e, auto_mapping: null });
}
