import { readFileSync } from 'node:fs';
import { describe } from 'vitest';
import { fuzz, fuzzedFile } from '../../../../fixtures/fuzz.js';
import { fixturePath } from '../../../../fixtures/index.js';
import { readJson } from './files/file-source.js';
import { memory } from './files/memory.js';
import { openWeights } from './open-weights.js';
import { openSafetensors } from './safetensors/open-safetensors.js';
import { encodeSafetensors } from './safetensors/save-safetensors.js';
import { openTorchFile } from './torch/open-torch-file.js';
import { pickled, torchZipOf } from './torch/__fixtures__/torch-files.js';

const source = (ending: string, bytes: Uint8Array) => memory({ [`${fuzzedFile}.${ending}`]: bytes });
const safetensors = encodeSafetensors(
  {
    'a.weight': { dtype: 'F32', shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) },
    'constructor.bias': { dtype: 'F16', shape: [3], data: Float32Array.of(1, 2, 3) },
    steps: { dtype: 'I64', shape: [], data: Int32Array.of(7) },
  },
  { format: 'pt' },
);
const { dict, file, storage, tensor, text } = pickled;
const torch = torchZipOf(file(dict(text('w'), tensor(storage('FloatStorage', '0', 4), 0, [2, 2], [2, 1]))), {
  0: new Uint8Array(16),
});
const ofTorch = ['legacy.pt', 'deflated.pth', 'strided.pt', 'memo.pt'].map((name) =>
  readFileSync(fixturePath(`files/pt/${name}`)),
);

/** Opens a file of weights and reads every tensor. */
async function readAll(open: typeof openTorchFile | typeof openSafetensors, ending: string, bytes: Uint8Array) {
  const { tensors } = await open(source(ending, bytes), `${fuzzedFile}.${ending}`);
  for (const { read } of tensors.values()) await read();
}

describe('readers of weights', () => {
  fuzz({
    reader: 'safetensors',
    seeds: [safetensors],
    read: (bytes) => readAll(openSafetensors, 'safetensors', bytes),
  });
  fuzz({ reader: 'torch files', seeds: [torch, ...ofTorch], read: (bytes) => readAll(openTorchFile, 'pt', bytes) });
  fuzz({
    reader: 'JSON',
    seeds: ['{"a": [1, -2.5e3, "text", {"b": null}], "lambda_min_clipped": -Infinity, "c": NaN}'],
    read: (bytes) => readJson(source('json', bytes), `${fuzzedFile}.json`),
  });
  fuzz({
    reader: 'indices of shards',
    seeds: [
      '{"metadata": {"total_size": 80}, "weight_map": {"a.weight": "one.safetensors", "steps": "one.safetensors"}}',
    ],
    read: (bytes) =>
      openWeights(
        memory({ 'model.safetensors.index.json': bytes, 'one.safetensors': safetensors }, fuzzedFile),
        'model',
      ),
  });
});
