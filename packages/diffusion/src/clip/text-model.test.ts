import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { matMul, slice, tensor2d, type Tensor, type Tensor2D } from '@tensorflow/tfjs-core';
import { TfjsEngine, type Engine, type ModelFunction, type StoredTensor } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { engineNames, startEngine } from '../../../../fixtures/engines.js';
import { expectClose, fixturePath, fixtureTensors } from '../../../../fixtures/index.js';
import { textEmbedsFunction } from './__fixtures__/model-functions.js';
import { clipText, CLIPTextModel, CLIPTextModelWithProjection } from './text-model.js';

const forward =
  (model: CLIPTextModel): ModelFunction =>
  (params, inputIds) => {
    const { lastHiddenState, poolerOutput, hiddenStates } = clipText(model.config, params, inputIds!);
    return [lastHiddenState, poolerOutput, ...hiddenStates];
  };

describe.each(engineNames)('CLIPTextModel on %s', (name) => {
  describe.each(['sd15-tiny', 'sd2-tiny'])('%s', (folder) => {
    let engine: Engine;
    let model: CLIPTextModel;
    let golden: Record<string, Tensor>;
    beforeAll(async () => {
      engine = await startEngine(name);
      model = await CLIPTextModel.fromPretrained(fixturePath(`${folder}/model`), { subfolder: 'text_encoder' });
      golden = await fixtureTensors(`${folder}/text_encoder.safetensors`);
    });
    afterAll(() => engine.dispose());

    it('computes the hidden states and the pooled output of transformers', async () => {
      const [last, pooled, ...hidden] = await engine.compile(forward(model))(model.params, golden.input_ids!);
      expectClose(last!, golden.last_hidden_state!, 1e-4, 'last_hidden_state');
      expectClose(pooled!, golden.pooler_output!, 1e-4, 'pooler_output');
      expect(hidden).toHaveLength(model.config.num_hidden_layers + 1);
      hidden.forEach((state, i) => expectClose(state, golden[`hidden_states.${i}`]!, 1e-4, `hidden_states.${i}`));
    });

    it('encodes a prefix of one prompt as it encodes the prefix within the batch', async () => {
      const run = engine.compile(forward(model));
      const [batch] = await run(model.params, golden.input_ids!);
      const [prefix] = await run(model.params, slice(golden.input_ids!, [2, 0], [1, 9]));
      expectClose(prefix!, slice(batch!, [2, 0, 0], [1, 9, -1]), 1e-5, 'prefix');
    });

    it('leaks no tensor', async () => {
      await engine.compile(forward(model))(model.params, golden.input_ids!);
      await expectNoLeaks(() => engine.compile(forward(model))(model.params, golden.input_ids!));
    });
  });

  it('pools at the first end token, or at the largest id if the config has the legacy eos_token_id 2', async () => {
    const model = await CLIPTextModel.fromPretrained(fixturePath('sd2-tiny/model'), { subfolder: 'text_encoder' });
    const engine = new TfjsEngine();
    const pooledAt = async (eos: number, ids: number[]) => {
      const changed = new CLIPTextModel({ ...model.config, eos_token_id: eos }, model.params);
      const [last, pooled] = await engine.compile(forward(changed))(
        model.params,
        tensor2d([ids], [1, ids.length], 'int32'),
      );
      const rows = ((await last!.array()) as number[][][])[0]!;
      const row = ((await pooled!.array()) as number[][])[0]!;
      return rows.findIndex((candidate) => candidate.every((value, i) => value === row[i]));
    };
    expect(await pooledAt(2, [5, 9, 7, 9, 3])).toBe(1);
    expect(await pooledAt(7, [5, 9, 7, 9, 7])).toBe(2);
    expect(await pooledAt(8, [5, 9, 7, 9, 7])).toBe(0);
    engine.dispose();
  });

  it('loads the text half of a CLIPModel, with and without its projection', async () => {
    const engine = new TfjsEngine();
    const folder = fixturePath('reward-aesthetic/clip');
    const plain = await CLIPTextModel.fromPretrained(folder);
    const projected = await CLIPTextModelWithProjection.fromPretrained(folder);
    const ids = tensor2d([[1, 2, 3, 913, 913]], [1, 5], 'int32');
    const [, pooled] = await engine.compile(forward(plain))(plain.params, ids);
    const [embeds] = await engine.compile(textEmbedsFunction(projected.config))(projected.params, ids);
    const { text_projection } = projected.params as unknown as { text_projection: { weight: StoredTensor } };
    const weight = tensor2d((await text_projection.weight.read()) as Float32Array, [768, 24]);
    expectClose(embeds!, matMul(pooled as Tensor2D, weight, false, true), 1e-5, 'text_embeds');
    engine.dispose();
  });
});
