// A checkpoint whose files are not what was written.
import { execFileSync } from 'node:child_process';
import { readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { memory } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { collect, oneStepConfig, tinyConfig, tinyTrainer, trainedValues } from '../__fixtures__/tiny-run.js';
import { out, pipeline, tinySuite } from '../__fixtures__/tiny-suite.js';
import { parseAlignPropConfig } from '../config/config.js';
import { checkRunStart } from '../run/run-start.js';

tinySuite();

/** Trains to a number of steps, in `out` by default. @returns trained values, warnings and infos */
async function run(num_epochs: number, config: object = {}) {
  const [warnings, infos]: [string[], string[]] = [[], []];
  const logger = { info: (text: string) => void infos.push(text), warn: (text: string) => void warnings.push(text) };
  const trainer = tinyTrainer({
    pipeline,
    logger,
    config: { ...oneStepConfig, output_dir: out, num_epochs, ...config },
  });
  try {
    await collect(trainer);
    return { values: trainedValues(trainer.pipeline), warnings, infos };
  } finally {
    trainer.dispose();
  }
}

const checkpoint = (step: number, ...file: string[]) => join(out, `checkpoints/checkpoint_${step}`, ...file);
const weights = 'pytorch_lora_weights.safetensors';
const flipBit = (bytes: Buffer) => (bytes.writeUInt8(bytes.at(-2)! ^ 1, bytes.length - 2), bytes);

async function damageFile(path: string, damage: (bytes: Buffer) => Buffer): Promise<void> {
  await writeFile(path, damage(await readFile(path)));
}

describe('a damaged checkpoint', () => {
  it('is kept aside, and the run goes on from the one before', async () => {
    const whole = await run(3, { output_dir: '' });
    await run(2);
    await damageFile(checkpoint(2, weights), flipBit);
    const damaged = await readdir(checkpoint(2));
    await checkRunStart({
      config: parseAlignPropConfig({ ...tinyConfig, ...oneStepConfig, output_dir: out, resume_from: out }),
    });
    const { values, warnings, infos } = await run(3, { resume_from: out });
    expect(values).toEqual(whole.values);
    expect(warnings).toEqual([expect.stringMatching(/checkpoint_2 is damaged: .*sha256.*goes on from .*_1\.$/)]);
    expect(infos).toContain(`Renamed ${out}/checkpoints/checkpoint_2 to ${out}/checkpoints/checkpoint_2.damaged.`);
    expect(await readdir(`${checkpoint(2)}.damaged`)).toEqual(damaged);
    expect((await readFile(join(out, 'metrics.jsonl'), 'utf8')).trim().split('\n')).toHaveLength(3);
  });

  it('that is the only one, or is named itself, is an error that says what to do, and changes nothing', async () => {
    await run(2, { num_checkpoint_limit: 1 });
    await damageFile(checkpoint(2, weights), flipBit);
    const tensors = memory().numTensors;
    for (const resume_from of [out, join(out, 'checkpoints'), checkpoint(2)])
      await expect(run(3, { resume_from })).rejects.toThrow(
        /cannot resume from .*checkpoint_2: .*weights\.safetensors is not what was written.*Resume from another .*copy/,
      );
    expect(memory().numTensors).toBe(tensors);
    expect(await readdir(join(out, 'checkpoints'))).toEqual(['checkpoint_2']);
  });

  it('of another run is left as it is', async () => {
    await run(2);
    await damageFile(checkpoint(2, weights), flipBit);
    const { warnings } = await run(2, { resume_from: out, output_dir: join(out, 'other') });
    expect(warnings).toEqual([expect.stringContaining('checkpoint_2 is damaged')]);
    expect(await readdir(join(out, 'checkpoints'))).toEqual(['checkpoint_1', 'checkpoint_2']);
  });

  it.skipIf(process.platform === 'win32')('is found by sha256sum as well', async () => {
    await run(1);
    const check = () =>
      execFileSync('sha256sum', ['-c', '--quiet', 'SHA256SUMS'], { cwd: checkpoint(1), stdio: 'pipe' });
    check();
    await damageFile(checkpoint(1, weights), flipBit);
    expect(check).toThrow();
  });
});

describe('a folder of checkpoints that is a link', () => {
  it('is used as a folder, and refused while its disk is missing', async () => {
    const disk = join(out, 'disk');
    await run(2);
    await rename(join(out, 'checkpoints'), disk);
    await symlink('disk', join(out, 'checkpoints'));
    await expect(run(1)).rejects.toThrow(/already holds checkpoint_1, checkpoint_2/);
    await rename(disk, `${disk}-unmounted`);
    const before = await readFile(join(out, 'metrics.jsonl'), 'utf8');
    for (const config of [{}, { resume_from: out }, { overwrite_output_dir: true }])
      await expect(run(3, config)).rejects.toThrow(/checkpoints is a link to what is not there.*Mount its disk/);
    expect(await readFile(join(out, 'metrics.jsonl'), 'utf8')).toBe(before);
    await rename(`${disk}-unmounted`, disk);
    expect((await run(3, { resume_from: out })).values).toEqual((await run(3, { output_dir: '' })).values);
  });
});

describe('the folder of a run without checkpoints', () => {
  it('is refused when it holds the weights of an ended run, also by a run that is to be resumed there', async () => {
    await run(1);
    await rm(join(out, 'checkpoints'), { recursive: true });
    await expect(run(1)).rejects.toThrow(/already holds pytorch_lora_weights\.safetensors, metrics\.jsonl of another/);
    await expect(run(1, { resume_from: out })).rejects.toThrow(
      /already holds pytorch_.*, and no checkpoint, of another/,
    );
  });
});
