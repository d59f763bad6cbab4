import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, vi } from 'vitest';
import { fuzz, fuzzedFile } from '../../../../fixtures/fuzz.js';
import { fixturePath } from '../../../../fixtures/index.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { readJson } from './files/file-source.js';
import { memory } from './files/memory.js';
import { hub } from './hub/hub.js';
import { openWeights } from './open-weights.js';
import { openSafetensors } from './safetensors/open-safetensors.js';
import { encodeSafetensors } from './safetensors/save-safetensors.js';
import { openTorchFile } from './torch/open-torch-file.js';
import { pickled, torchZipOf } from './torch/__fixtures__/torch-files.js';

const caches = temporaryFolder();
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

/** Reads a file of a repository whose hub gives these answers. */
async function readFromHub(listing: Uint8Array, headers: Headers): Promise<void> {
  const cacheDir = await mkdtemp(join(caches, fuzzedFile));
  const text = '{"a": 1}';
  vi.stubGlobal('fetch', (url: string, { method }: RequestInit) => {
    if (url.includes('/api/')) return Promise.resolve(new Response(Uint8Array.from(listing)));
    return Promise.resolve(new Response(method === 'HEAD' ? null : text, { headers }));
  });
  try {
    const source = hub(`org/${fuzzedFile}`, { endpoint: 'http://hub.test', cacheDir, retryDelay: 0, token: false });
    await readJson(source, 'config.json');
  } finally {
    vi.unstubAllGlobals();
    await rm(cacheDir, { recursive: true });
  }
}

const listing = JSON.stringify({ sha: '0'.repeat(40), siblings: [{ rfilename: 'config.json' }, { rfilename: 'a/b' }] });
const hubHeaders = 'etag: W/"0123456789abcdef"\ncontent-length: 8\nx-linked-size: 8\nretry-after: 0\nlocation: /b\n';

/** Headers from lines of text; those that HTTP does not allow are left out. */
function parseHeaders(bytes: Uint8Array): Headers {
  const headers = new Headers();
  for (const line of Buffer.from(bytes).toString('latin1').split('\n')) {
    const [, name, value] = /^([\w-]+): ([\x21-\x7e][\x20-\x7e]*)$/.exec(line) ?? [];
    if (name !== undefined) headers.append(name, value!);
  }
  return headers;
}

describe('readers of weights', () => {
  fuzz({
    reader: 'listings of the hub',
    seeds: [listing],
    read: (bytes) => readFromHub(bytes, parseHeaders(Buffer.from(hubHeaders))),
  });
  fuzz({
    reader: 'headers of the hub',
    seeds: [hubHeaders],
    read: (bytes) => readFromHub(Buffer.from(listing), parseHeaders(bytes)),
  });

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
