import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { applyConfigFile } from './config-file.js';

const folder = temporaryFolder();
const json = '{"num_epochs": 3, "prompt": "ein Löwe"}';
const bigEndian = () => Buffer.from(`\ufeff${json}`, 'utf16le').swap16();

async function read(bytes: Buffer): Promise<Record<string, unknown>> {
  const path = join(folder, 'config.json');
  writeFileSync(path, bytes);
  const command = new Command().option('--config <file>').option('--num-epochs <n>');
  command.parse(['--config', path], { from: 'user' });
  const others = await applyConfigFile(command);
  return { ...others, num_epochs: command.opts<{ numEpochs: number }>().numEpochs };
}

describe('applyConfigFile', () => {
  it.each([
    ['UTF-8', Buffer.from(json)],
    ['UTF-8 with a byte order mark', Buffer.from(`\ufeff${json}`)],
    ['UTF-16, little endian', Buffer.from(`\ufeff${json}`, 'utf16le')],
    ['UTF-16, big endian', bigEndian()],
  ])('reads a file in %s', async (_, bytes) => {
    expect(await read(bytes)).toEqual({ num_epochs: 3, prompt: 'ein Löwe' });
  });

  it('refuses a file that is not JSON', async () => {
    await expect(read(Buffer.from('num_epochs: 3'))).rejects.toThrow(/--config: '.*config\.json' is not JSON/);
  });
});
