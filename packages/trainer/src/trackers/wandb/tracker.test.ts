import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { crc32 } from 'node:zlib';
import { tensor4d } from '@tensorflow/tfjs-core';
import { useBackend } from '@alignprop/autograd-ext';
import protobuf from 'protobufjs/minimal.js';
import { beforeAll, describe, expect, it } from 'vitest';
import { folderPerTest, out } from '../../../../../fixtures/folder-per-test.js';
import { stepMetrics } from '../../__fixtures__/metrics.js';
import { createRecordLog } from './record-log.js';
import { wandbTracker, type WandbFiles, type WandbRun } from './tracker.js';

folderPerTest();
beforeAll(() => useBackend('cpu'));

const run = promisify(execFile);
const python = process.env.PYTHON ?? 'python3';
const hasWandb = await run(python, ['-c', 'import wandb.proto.wandb_internal_pb2']).then(
  () => true,
  () => false,
);

/** Reads the records of a file with a reader that shares no code with the writer. Fails where a checksum is wrong. */
function readRecords(file: Buffer): Buffer[] {
  expect(file.subarray(0, 7)).toEqual(Buffer.from([0x3a, 0x57, 0x26, 0x42, 0xe1, 0xbe, 0]));
  const records: Buffer[] = [];
  for (let at = 7; at < file.length;) {
    const left = 32_768 - (at % 32_768);
    if (left < 7) {
      at += left;
      continue;
    }
    const [length, type] = [file.readUInt16LE(at + 4), file[at + 6]!];
    const data = file.subarray(at + 7, at + 7 + length);
    expect(file.readUInt32LE(at)).toBe(crc32(Buffer.concat([Buffer.of(type), data])));
    if (type === 1 || type === 2) records.push(data);
    else records.push(Buffer.concat([records.pop()!, data]));
    at += 7 + length;
  }
  return records;
}

/** The fields of a protocol buffer by number. */
function decode(bytes: Uint8Array): Map<number, (number | Uint8Array)[]> {
  const reader = protobuf.Reader.create(bytes);
  const fields = new Map<number, (number | Uint8Array)[]>();
  while (reader.pos < reader.len) {
    const key = reader.uint32();
    const value = (key & 7) === 0 ? Number(reader.int64()) : reader.bytes();
    fields.set(key >>> 3, [...(fields.get(key >>> 3) ?? []), value]);
  }
  return fields;
}
const messages = (bytes: Uint8Array, id: number) => (decode(bytes).get(id) ?? []) as Uint8Array[];
const textOf = (bytes: Uint8Array, id: number) => messages(bytes, id).map((text) => Buffer.from(text).toString())[0];

/** Items of a configuration, a summary or a row, by key. NaN and Infinity are not JSON. */
const itemsOf = (bytes: Uint8Array, id = 1) =>
  Object.fromEntries(
    messages(bytes, id).map((item) => {
      const json = textOf(item, 16)!;
      return [textOf(item, 1)!, /^(NaN|-?Infinity)$/.test(json) ? Number(json) : (JSON.parse(json) as unknown)];
    }),
  );

const kinds = {
  history: 2,
  summary: 3,
  files: 6,
  artifact: 8,
  run: 17,
  exit: 18,
  header: 21,
  footer: 22,
  environment: 26,
};
type Kind = keyof typeof kinds;
const recordsOf = (records: readonly Uint8Array[], kind: Kind) => records.flatMap((r) => messages(r, kinds[kind]));

const config = { train_learning_rate: 1e-3, lora_target_modules: ['to_q'], height: null };

/** Logs two steps, an evaluation, and two images. @returns the run's folder and its records */
async function writeRun(options: Partial<WandbRun> = {}, files: Partial<WandbFiles> = {}) {
  const tracker = await wandbTracker({ project: 'crabs', config, ...options }, { dir: out, ...files });
  const images = tensor4d([1, 0, 0, 0, 0, 1], [2, 1, 1, 3]);
  const samples = { prompts: ['a "red" crab', 'a blue crab'], rewards: [1.25, -3] };
  await tracker.log(stepMetrics(0, { rewardMean: 1.25, rewardTerms: { jpeg: 3 } }));
  await tracker.logImages!(images, ['a "red" crab | 1.25', 'a blue crab | -3.00'], 0, samples);
  await tracker.log(stepMetrics(1, { loss: NaN }));
  await tracker.logEvaluation!({ globalStep: 2, rewardMean: 2, rewardStd: 0, isBest: true, bestStep: 2 });
  await tracker.close();
  images.dispose();
  const id = /-(\w+)$/.exec(tracker.folder)![1]!;
  return {
    id,
    folder: tracker.folder,
    records: readRecords(await readFile(`${tracker.folder}/run-${id}.wandb`)),
  };
}

describe('wandbTracker', () => {
  it('writes the run, its machine, rows, a summary and the end', async () => {
    const { id, folder, records } = await writeRun({ entity: 'team', name: 'first', tags: ['crab', 'lora'] });
    expect(folder).toMatch(/\/wandb\/offline-run-\d{8}_\d{6}-[0-9a-z]{8}$/);
    expect(records.map((record) => decode(record).get(1)![0])).toEqual(records.map((_, i) => i + 1));
    const [described] = recordsOf(records, 'run');
    expect([1, 2, 3, 8].map((field) => textOf(described!, field))).toEqual([id, 'team', 'crabs', 'first']);
    expect(messages(described!, 10).map(String)).toHaveLength(2);
    expect(itemsOf(messages(described!, 4)[0]!)).toEqual(config);
    expect(recordsOf(records, 'environment')).toHaveLength(1);
    const rows = recordsOf(records, 'history').map((row) => itemsOf(row));
    expect(rows.map(({ _step }) => _step)).toEqual([0, 1, 2]);
    expect(rows[0]).toMatchObject({ reward_mean: 1.25, 'reward/jpeg': 3, images: { count: 2 } });
    expect(rows[1]).toMatchObject({ loss: NaN });
    expect(rows[2]).toMatchObject({ eval_reward_mean: 2, eval_best_step: 2 });
    const summary = Object.assign({}, ...recordsOf(records, 'summary').map((update) => itemsOf(update))) as object;
    expect(summary).toMatchObject({ _step: 2, reward_mean: expect.any(Number) as number, eval_reward_mean: 2 });
    expect([recordsOf(records, 'exit').length, recordsOf(records, 'footer').length]).toEqual([1, 1]);
  });

  it('writes images and tables as files that the records name, with their checksums', async () => {
    const { folder, records } = await writeRun();
    const [row] = recordsOf(records, 'history').map((record) => itemsOf(record));
    const { images, images_table: table } = row as Record<string, any>;
    expect(images).toMatchObject({
      _type: 'images/separated',
      width: 1,
      height: 1,
      captions: ['a "red" crab | 1.25', 'a blue crab | -3.00'],
    });
    const uploaded = recordsOf(records, 'files').flatMap((record) =>
      messages(record, 1).map((item) => textOf(item, 1)),
    );
    expect(uploaded.sort()).toEqual([...(images.filenames as string[]), table.path as string].sort());
    for (const path of uploaded) expect((await stat(join(folder, 'files', path!))).size).toBeGreaterThan(0);
    const content = await readFile(join(folder, 'files', table.path as string));
    expect(JSON.parse(content.toString())).toMatchObject({
      columns: ['prompt', 'reward'],
      data: [
        ['a "red" crab', 1.25],
        ['a blue crab', -3],
      ],
    });
    expect(table).toMatchObject({ sha256: createHash('sha256').update(content).digest('hex'), nrows: 2, ncols: 2 });
    const [artifact] = recordsOf(records, 'artifact');
    const entry = messages(messages(artifact!, 12)[0]!, 4)[0]!;
    expect(textOf(entry, 2)).toBe(createHash('md5').update(content).digest('base64'));
    expect(await readFile(textOf(entry, 6)!)).toEqual(content);
  });

  it('goes on in the same run of W&B after a resume, and begins a new one otherwise', async () => {
    const idFile = `${out}/wandb/run-id.json`;
    const first = await writeRun({}, { idFile });
    const resumed = await writeRun({}, { idFile, fromStep: 3, dir: `${out}/later` });
    const anew = await writeRun({}, { idFile, dir: `${out}/anew` });
    expect(resumed.id).toBe(first.id);
    expect(decode(recordsOf(resumed.records, 'run')[0]!).get(14)).toEqual([3]);
    expect(anew.id).not.toBe(first.id);
  });

  it.skipIf(!hasWandb)("is read by W&B's own client", async () => {
    const { folder, id } = await writeRun();
    const program = `
import sys
from wandb.proto import wandb_internal_pb2 as pb
for line in sys.stdin:
    record = pb.Record()
    record.ParseFromString(bytes.fromhex(line.strip()))
    assert not record.FindInitializationErrors() and record.WhichOneof('record_type'), record
    print(record.WhichOneof('record_type'))
`;
    const records = readRecords(await readFile(`${folder}/run-${id}.wandb`));
    const child = run(python, ['-c', program]);
    child.child.stdin!.end(records.map((record) => record.toString('hex')).join('\n'));
    const { stdout } = await child;
    expect(stdout.match(/^\w+/gm)).toEqual([
      ...['header', 'run', 'environment', 'files', 'artifact', 'files', 'summary', 'history'],
      ...['summary', 'history', 'summary', 'history', 'exit', 'footer'],
    ]);
  });
});

describe('createRecordLog', () => {
  it('splits records at the ends of blocks of 32 KiB', async () => {
    const log = await createRecordLog(`${out}/log.wandb`);
    // the second leaves 6 bytes in its block, the third 7, the last spans three blocks
    const sizes = [1, 32_768 - 7 - 8 - 7 - 6, 32_768 - 7 - 7, 0, 80_000];
    const records = sizes.map((size, i) => Buffer.alloc(size, i + 1));
    await log.append(records.slice(0, 2));
    await log.append(records.slice(2));
    const read = readRecords(await readFile(`${out}/log.wandb`));
    expect(read.map((record, i) => record.equals(records[i]!))).toEqual(records.map(() => true));
    await expect(createRecordLog(`${out}/log.wandb`)).rejects.toThrow('EEXIST');
    expect(await readdir(out)).toEqual(['log.wandb']);
  });
});
