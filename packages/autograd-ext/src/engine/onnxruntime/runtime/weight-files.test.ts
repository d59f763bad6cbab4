import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mul, tensor1d, type Tensor } from '@tensorflow/tfjs-core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { engineNames, startEngine } from '../../../../../../fixtures/engines.js';
import { fixturePath } from '../../../../../../fixtures/index.js';
import { temporaryFolder } from '../../../../../../fixtures/temporary-folder.js';
import type { Params, StoredTensor } from '../../../params.js';
import type { Engine } from '../../engine.js';
import { directory } from '../../../weights/files/directory.js';
import { loadParams } from '../../../weights/load-params.js';
import { openWeights } from '../../../weights/open-weights.js';
import { encodeSafetensors } from '../../../weights/safetensors/save-safetensors.js';

const folder = temporaryFolder();
const values = Float32Array.from({ length: 5000 }, (_, i) => (i === 4321 ? Infinity : i / 5000));

/** Opens a file with the values in a dtype. */
async function opened(dtype: string): Promise<Params> {
  const name = `${dtype}.safetensors`;
  writeFileSync(join(folder, name), encodeSafetensors({ w: { dtype, shape: [5000], data: values } }));
  const weights = await openWeights(directory(folder), name);
  return loadParams({ w: { shape: [5000] } }, weights, { owner: 'Model', location: folder });
}

describe.each(engineNames)('damaged weights on %s', (name) => {
  let engine: Engine;
  beforeEach(async () => void (engine = await startEngine(name)));
  afterEach(() => engine.dispose());
  const use = (params: Params, key: string) =>
    engine.compile((tree, x) => mul((tree as Record<string, Tensor>)[key]!, x!))(params, tensor1d([1]));

  it.each(['F32', 'F16', 'BF16'])('of %s are refused by name before they are used: not finite', async (dtype) => {
    await expect(use(await opened(dtype), 'w')).rejects.toThrow(
      new RegExp(`Model: weight 'w' in '.*${dtype}\\.safetensors' got Infinity at position 4321, expected finite`),
    );
  });

  it('of a torch file are refused by name: another checksum', async () => {
    const weights = await openWeights(directory(fixturePath('files/broken-pt')), 'zip-crc-error.pt');
    const [[key, { shape }]] = [...weights] as [[string, StoredTensor], ...unknown[]];
    const params = loadParams({ [key]: { shape } }, weights, { owner: 'Model', location: 'here', ignored: [/./] });
    await expect(use(params, key)).rejects.toThrow(
      new RegExp(`tensor '${key}' of '.*zip-crc-error\\.pt' cannot be read: the checksum of`),
    );
  });
});
