import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { captureOutput } from '../../../../fixtures/capture-output.js';
import { fixturePath } from '../../../../fixtures/index.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { Output } from '../terminal/output.js';
import { loadPipeline } from './model-options.js';

const printed = captureOutput();
const folder = temporaryFolder();
const file = (name: string) => fixturePath(`textual-inversion/${name}`);
const tokensOf = async (...embedding: string[]) => {
  const model = fixturePath('sd2-tiny/model');
  const pipeline = await loadPipeline({ model, engine: 'tfjs', embedding }, new Output());
  return Array.from({ length: pipeline.tokenizer.size - 2000 }, (_, i) => pipeline.tokenizer.token(2000 + i));
};

describe('--embedding', () => {
  it('adds the tokens of each file, under its own name or the given one', async () => {
    expect(await tokensOf(file('row.safetensors'), `${file('a1111.pt')}:sks`)).toEqual([
      '<row>',
      'sks',
      'sks_1',
      'sks_2',
    ]);
  });

  it('may have a colon in the name of a file', async () => {
    const path = join(folder, 'style:1.safetensors');
    copyFileSync(file('row.safetensors'), path);
    expect(await tokensOf(path)).toEqual(['<row>']);
    expect(await tokensOf(`${path}:<x>`)).toEqual(['<x>']);
  });

  it('takes a colon before a path for a part of the path', async () => {
    await expect(tokensOf(String.raw`C:\none.pt`)).rejects.toThrow(/C:.none\.pt/);
  });

  it('warns of what it leaves out of a file', async () => {
    await tokensOf(file('xl.safetensors'));
    expect(printed.stderr).toMatch(/warning: .*clip_l is used, clip_g is left out/);
  });
});

describe('--model-config and --prediction-type', () => {
  const single = { model: fixturePath('single-file/sd2/sd2-fp16.safetensors'), engine: 'tfjs' } as const;

  it('give a checkpoint in one file the configs of a folder, and its prediction', async () => {
    const modelConfig = fixturePath('single-file/sd2/config');
    const { scheduler, unet } = await loadPipeline({ ...single, modelConfig, predictionType: 'epsilon' }, new Output());
    expect(scheduler.config.prediction_type).toBe('epsilon');
    expect(unet.config.norm_num_groups).toBeLessThan(32);
  });

  it('are refused for a folder, and a variant for a file', async () => {
    const model = fixturePath('sd2-tiny/model');
    const opening = (options: object) => loadPipeline({ model, engine: 'tfjs', ...options }, new Output());
    await expect(opening({ modelConfig: model })).rejects.toThrow(/--model-config got .* expected none/);
    await expect(opening({ predictionType: 'epsilon' })).rejects.toThrow(/--prediction-type got 'epsilon' for/);
    await expect(opening({ ...single, variant: 'fp16' })).rejects.toThrow(/--variant got 'fp16' for the file/);
  });
});
