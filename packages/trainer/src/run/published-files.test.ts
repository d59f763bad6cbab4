import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { PushHub } from '../../../../fixtures/push-hub.js';
import { collect, oneStepConfig, tinyTrainer } from '../__fixtures__/tiny-run.js';
import { out, pipeline, tinySuite } from '../__fixtures__/tiny-suite.js';
import { publishedFiles } from './published-files.js';

tinySuite();

async function lay(...files: readonly string[]): Promise<void> {
  for (const file of files) {
    await mkdir(dirname(join(out, file)), { recursive: true });
    await writeFile(join(out, file), file.endsWith('.json') ? '{"seed":1,"output_dir":"/home/me"}' : file);
  }
}
const names = async () => Object.keys(await publishedFiles(out)).sort();

describe('publishedFiles', () => {
  it('has the adapter of the best evaluation, the first and last sheets, and no paths of this machine', async () => {
    const sheets = [0, 1, 2].map((step) => `samples/step_${step}.png`);
    await lay('pytorch_lora_weights.safetensors', 'best/pytorch_lora_weights.safetensors', 'config.json', ...sheets);
    await lay('run.json', 'metrics.jsonl', 'checkpoints/checkpoint_1/state.json', 'pictures/1.png', 'notes.md');
    expect(await names()).toEqual([
      ...['config.json', 'pictures/1.png', 'pytorch_lora_weights.safetensors', sheets[0], sheets[2]],
    ]);
    const files = await publishedFiles(out);
    expect(files['pytorch_lora_weights.safetensors']).toBe(`${out}/best/pytorch_lora_weights.safetensors`);
    expect(new TextDecoder().decode(files['config.json'] as Uint8Array)).toBe('{\n  "seed": 1\n}\n');
  });

  it('has a whole UNet where that was trained', async () => {
    await lay('unet/config.json', 'unet/diffusion_pytorch_model.safetensors', 'unet/notes.md', 'README.md');
    expect(await names()).toEqual(['README.md', 'unet/config.json', 'unet/diffusion_pytorch_model.safetensors']);
  });

  it('is refused where no run has ended', async () => {
    await expect(publishedFiles(join(out, 'none'))).rejects.toThrow(/none' got no pytorch_lora_weights\.safetensors/);
    await lay('best/pytorch_lora_weights.safetensors');
    await expect(publishedFiles(out)).rejects.toThrow(/expected the weights of a run that has ended/);
  });
});

describe('AlignPropTrainer.pushToHub', () => {
  const hub = new PushHub();
  beforeAll(() => hub.start());
  afterAll(() => hub.stop());

  it('uploads the adapter and the configuration of its run', async () => {
    for (const name of ['HF_HUB_OFFLINE', 'HTTP_PROXY', 'http_proxy', 'ALL_PROXY']) vi.stubEnv(name, '');
    const trainer = tinyTrainer({ pipeline, config: { ...oneStepConfig, num_epochs: 1, output_dir: out } });
    await collect(trainer);
    const access = { token: hub.token, endpoint: hub.endpoint, retryDelay: 0 };
    const { url } = await trainer.pushToHub('me/crabs', access);
    trainer.dispose();
    vi.unstubAllEnvs();
    expect(url).toBe(`${hub.endpoint}/me/crabs`);
    const { files } = hub.repositories['me/crabs']!.branches.main![0]!;
    expect(Object.keys(files).sort()).toEqual(['config.json', 'pytorch_lora_weights.safetensors']);
    const adapter = await readFile(join(out, 'pytorch_lora_weights.safetensors'));
    expect(files['pytorch_lora_weights.safetensors']).toEqual(adapter);
  });

  it('is refused for a run without a folder', async () => {
    const trainer = tinyTrainer({ pipeline });
    await expect(trainer.pushToHub('me/x')).rejects.toThrow(/AlignPropTrainer\.pushToHub: output_dir got nothing/);
    trainer.dispose();
  });
});
