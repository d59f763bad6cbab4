import { join } from 'node:path';
import type { Engine, Params } from '@alignprop/autograd-ext';
import {
  clipText,
  CLIPTextModel,
  unet2DCondition,
  UNet2DConditionModel,
  type StableDiffusionPipeline,
} from '@alignprop/diffusion';
import { applyLora, loraTensors, openLora } from '@alignprop/lora';
import { cast, dispose, type Tensor, type Tensor3D, type Tensor4D } from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startEngine } from '../../../../fixtures/engines.js';
import { expectClose, fixtureJson, fixturePath, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';

// Every kind of adapter file that people have, on the UNet and text encoder of diffusers. The references are float64
// weights with the adapter merged, confirmed by diffusers, peft or LyCORIS where these read the file.

interface AdapterCase {
  readonly file: string;
  readonly what: string;
  /** The key of a value that is not finite. */
  readonly refuse?: string;
  /** The case with the same outputs. */
  readonly same_as?: string;
  /** The token of a bundled embedding. */
  readonly name?: string;
  /** In cases of the text encoder, `te-unet.out` where the file adapts the UNet too. */
  readonly unet?: string;
}

interface Base {
  readonly base: string;
  readonly io: string;
  readonly cases: Readonly<Record<string, AdapterCase>>;
}

type Adapted = Pick<StableDiffusionPipeline, 'unet' | 'textEncoder'>;

const { bases } = fixtureJson<{ bases: Readonly<Record<string, Base>> }>('lora-kinds/case.json');

describe.each(Object.entries(bases))('adapter files on %s', (_, { base, io, cases }) => {
  let engine: Engine;
  let model: Adapted;
  let golden: Record<string, Tensor>;
  const fileOf = ({ file }: AdapterCase) => fixturePath(`lora-kinds/${file}`);
  const named = Object.entries(cases);

  beforeAll(async () => {
    engine = await startEngine('wasm');
    const folder = join(fixturePath('lora-kinds'), base);
    model = {
      unet: await UNet2DConditionModel.fromPretrained(folder, { subfolder: 'unet' }),
      textEncoder: await CLIPTextModel.fromPretrained(folder, { subfolder: 'text_encoder' }),
    };
    golden = await fixtureTensors(`lora-kinds/${io}`);
  });
  afterEach(() => engine.dispose());

  async function runUnet(params: Params): Promise<Tensor> {
    const { config } = model.unet;
    const run = engine.compile((tree, sample, timestep, context) =>
      unet2DCondition(config, tree, sample as Tensor4D, timestep!, context as Tensor3D),
    );
    const timestep = cast(golden.timestep!, 'float32');
    return toNCHW((await run(params, toNHWC(golden.sample!), timestep, golden.encoder_hidden_states!))[0]!);
  }

  async function runText(params: Params): Promise<Tensor> {
    const run = engine.compile((tree, ids) => [clipText(model.textEncoder.config, tree, ids!).lastHiddenState]);
    return (await run(params, golden.input_ids!))[0]!;
  }

  it.each(named.filter(([, { refuse }]) => !refuse))(
    'gives the reference output with %s',
    async (name, adapterCase) => {
      const { components, embeddings } = await openLora(fileOf(adapterCase));
      const reference = adapterCase.same_as ?? name;
      const expected = {
        unet: golden[`${reference}.out`] ?? golden[adapterCase.unet ?? ''],
        text_encoder: Object.keys(embeddings).length ? undefined : golden[`${reference}.te`],
      };
      expect(Object.keys(components).sort()).toEqual(
        Object.entries(expected)
          .flatMap(([component, output]) => (output ? component : []))
          .sort(),
      );
      if (expected.unet) {
        const params = await applyLora(model.unet.params, components.unet!);
        expectClose(await runUnet(params), expected.unet, 1e-4, name);
        dispose(loraTensors(params));
      }
      if (expected.text_encoder) {
        const params = await applyLora(model.textEncoder.params, components.text_encoder!);
        expectClose(await runText(params), expected.text_encoder, 1e-4, name);
        dispose(loraTensors(params));
      }
    },
  );

  it.each(named.filter(([, { refuse }]) => refuse))('refuses %s and names the key', async (name, adapterCase) => {
    await expect(openLora(fileOf(adapterCase))).rejects.toThrow(adapterCase.refuse!);
    await expect(openLora(fileOf(adapterCase))).rejects.toThrow(`${name}.safetensors`);
  });

  it.each(named.filter(([, { name }]) => name))('returns the embedding of %s', async (_, adapterCase) => {
    const { embeddings } = await openLora(fileOf(adapterCase));
    expect(Object.keys(embeddings)).toEqual([adapterCase.name]);
    const vectors = await embeddings[adapterCase.name!]!.text_encoder!.read();
    expect([...vectors]).toEqual([...golden['bundle-emb.vectors']!.dataSync()]);
  });
});
