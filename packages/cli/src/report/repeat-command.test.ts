import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { captureOutput } from '../../../../fixtures/capture-output.js';
import { writeReportRun } from '../../../../fixtures/report-run.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { repetitionOf } from './repeat-command.js';
import { readRuns } from './reported-run.js';
import { PictureReader } from './run-pictures.js';

captureOutput();
const folder = temporaryFolder();

async function repetition(options: Readonly<Record<string, unknown>>, kind?: string, config = {}) {
  const path = join(folder, 'run');
  writeReportRun(path, { options, kind, config });
  const [run] = await readRuns('report', [path], new PictureReader(0));
  const { command, remarks } = repetitionOf(run!);
  return { command: command.replaceAll(path, 'RUN'), remarks };
}

describe('repetitionOf', () => {
  it('states the options of the run beside its configuration', async () => {
    const rewardOption = { 'jpeg-compressibility': { quality: 80 } };
    expect(await repetition({ model: 'org/name', reward: ['a', 'b:2'], rewardOption, loraFreeze: true })).toEqual({
      command:
        'alignprop train --config RUN/config.json --algorithm alignprop --model=org/name --reward=a --reward=b:2 ' +
        '--reward-option=jpeg-compressibility.quality=80 --lora-freeze --output-dir RUN-again',
      remarks: [],
    });
  });

  it('repeats a demo by its own command', async () => {
    expect(await repetition({ prompt: ['crab'] }, 'demo')).toEqual({
      command: 'alignprop demo --output-dir RUN-again',
      remarks: [],
    });
  });

  it('names what a command line cannot hold, and what is not stored', async () => {
    const { command, remarks } = await repetition({ prompts: [{ prompt: 'crab' }], reward: ['https://<secret>@a.b'] });
    expect(command).not.toContain('secret');
    expect(remarks).toEqual([
      'Add --reward: it had a secret, which is not stored.',
      'Add to the file of --config: {"prompts":[{"prompt":"crab"}]}',
    ]);
  });

  it('does not publish the repetition', async () => {
    const { command } = await repetition({ hubModelId: 'me/crabs' }, undefined, { push_to_hub: true });
    expect(command).toContain('--no-push-to-hub');
    expect(command).not.toContain('me/crabs');
  });
});
