import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { findDamage, writeChecksums } from './checksums.js';

const parent = temporaryFolder();
let out: string;
const files = ['state.json', 'unet/weights.bin'];
beforeEach(async () => {
  out = await mkdtemp(join(parent, 'checkpoint-'));
  await mkdir(join(out, 'unet'));
  for (const [i, file] of files.entries()) await writeFile(join(out, file), `{"some": "contents ${i}"}`.repeat(20));
  await writeChecksums(out, files);
});

type Damage = (bytes: Buffer) => Buffer;
const flipBit: Damage = (bytes) => (bytes.writeUInt8(bytes.at(-2)! ^ 1, bytes.length - 2), bytes);
const cutOff: Damage = (bytes) => bytes.subarray(0, -30);
const zeros: Damage = (bytes) => Buffer.alloc(bytes.length);
const empty: Damage = () => Buffer.alloc(0);
const otherJson: Damage = () => Buffer.from('{}');
const withoutLine: Damage = (bytes) => Buffer.from(bytes.toString().split('\n').slice(1).join('\n'));

describe('the checksums of a checkpoint', () => {
  it('fit the files that were written', async () => {
    expect(await findDamage(out, files)).toBeUndefined();
  });

  it.each(
    [...files, 'SHA256SUMS'].flatMap((file) =>
      [flipBit, cutOff, zeros, empty, otherJson].map((damage) => ({ file, kind: damage.name, damage })),
    ),
  )('find that $file is damaged ($kind)', async ({ file, damage }) => {
    await writeFile(join(out, file), damage(await readFile(join(out, file))));
    expect(await findDamage(out, files)).toContain(`${file} is not what was written`);
  });

  it.each([...files, 'SHA256SUMS'])('find that %s is missing', async (file) => {
    await rm(join(out, file));
    expect(await findDamage(out, files)).toBe(`${file} is missing`);
  });

  it('have to name the files that every checkpoint has', async () => {
    const sums = join(out, 'SHA256SUMS');
    await writeFile(sums, withoutLine(await readFile(sums)));
    expect(await findDamage(out, files)).toBe('SHA256SUMS is not what was written');
  });
});
