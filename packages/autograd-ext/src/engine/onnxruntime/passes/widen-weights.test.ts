import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { add, type Tensor, type Tensor2D } from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../../../../../fixtures/temporary-folder.js';
import { useBackend } from '../../../backend.js';
import { linear } from '../../../ops/linear.js';
import { randn, random } from '../../../random.js';
import type { Params, StoredTensor } from '../../../params.js';
import type { ModelFunction } from '../../../vjp.js';
import { directory } from '../../../weights/files/directory.js';
import { openWeights } from '../../../weights/open-weights.js';
import { encodeSafetensors } from '../../../weights/safetensors/save-safetensors.js';
import { OnnxRuntimeEngine } from '../engine.js';
import { nodesOf, type Graph } from '../graph/graph.js';
import { recordFunction } from '../recording/record-function.js';
import { optimize } from './optimize.js';

const folder = temporaryFolder();
let engine: OnnxRuntimeEngine;
beforeAll(() => useBackend('wasm'));
afterEach(() => engine?.dispose());

const values = random(1).randn(32 * 32);
const layer: ModelFunction = (params, x) => {
  const { w } = params as unknown as { w: Tensor2D };
  return add(linear(x as Tensor2D, w), linear(linear(x as Tensor2D, w), w));
};

/** Opens a file with the weight in a dtype. */
async function opened(dtype: string): Promise<Params> {
  const file = `${dtype}.safetensors`;
  writeFileSync(join(folder, file), encodeSafetensors({ w: { dtype, shape: [32, 32], data: values } }));
  return Object.fromEntries(await openWeights(directory(folder), file)) as unknown as Params;
}

describe('weights in half precision', () => {
  it.each(['F16', 'BF16'])('of %s are read as they lie, with the same results to the bit', async (dtype) => {
    const params = await opened(dtype);
    const x = randn(random(2), [4, 32]);
    const results = async (relayout: boolean) => {
      const graphs: Graph[] = [];
      const models: string[] = [];
      engine = new OnnxRuntimeEngine({
        relayout,
        onCompile: ({ graph, model }) => {
          if (graph) graphs.push(graph);
          if (model) models.push(Buffer.from(model).toString('latin1'));
        },
      });
      const run = engine.compileVjp(layer, { wrt: [0] });
      const { value, inputs } = await run(params, [x]);
      const [plain] = await engine.compile(layer)(params, x);
      const casts = graphs.flatMap(({ outputs }) => nodesOf(outputs)).filter(({ op }) => op === 'Cast').length;
      engine.dispose();
      const numbers = [value, inputs[0]!, plain!].map((y: Tensor) => [...y.dataSync()]);
      return { numbers, casts, areMapped: models.every((model) => model.includes(`${dtype}.safetensors`)) };
    };
    const [wide, narrow] = [await results(true), await results(false)];
    expect(narrow.numbers).toEqual(wide.numbers);
    expect(narrow).toMatchObject({ casts: 3, areMapped: true }); // one in each session: forward, backward, plain
    expect(wide).toMatchObject({ casts: 0, areMapped: false });
  });

  const large = (dtype: string, rows: number): Params => {
    const location = { file: '/weights', offset: 0, length: 0 };
    const leaf: StoredTensor = { shape: [rows, 2 ** 14], dtype, location, read: () => Promise.reject(new Error()) };
    return { w: leaf };
  };
  it.each([
    ['F16', 2 ** 13 + 1, 'cpu', true],
    ['BF16', 2 ** 13 + 1, 'cuda', true],
    ['F16', 2 ** 13, 'cpu', false], // 256 MiB
    ['F16', 2 ** 13 + 1, 'webgpu', false],
    ['F32', 2 ** 13 + 1, 'cpu', false],
  ] as const)('of %s and %i rows are widened in the graph on %s: %s', (dtype, rows, device, isWidened) => {
    const use: ModelFunction = (params, x) => linear(x as Tensor2D, (params as unknown as { w: Tensor2D }).w);
    const recorded = recordFunction(use, large(dtype, rows), [{ shape: [1, 2 ** 14], dtype: 'float32' }]);
    const ops = nodesOf(optimize(recorded, 'float32', { device })).map(({ op }) => op);
    expect(ops.includes('Cast')).toBe(isWidened);
  });

  it('leaves weights of other stores to them', () => {
    const params = large('F16', 2 ** 13 + 1) as { w: StoredTensor };
    const elsewhere = { ...params.w, location: undefined };
    const use: ModelFunction = (tree, x) => linear(x as Tensor2D, (tree as unknown as { w: Tensor2D }).w);
    const recorded = recordFunction(use, { w: elsewhere }, [{ shape: [1, 2 ** 14], dtype: 'float32' }]);
    const ops = nodesOf(optimize(recorded, 'float32', { device: 'cpu' })).map(({ op }) => op);
    expect(ops).not.toContain('Cast');
  });
});
