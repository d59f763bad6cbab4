import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { tensor4d } from '@tensorflow/tfjs-core';
import { useBackend } from '@alignprop/autograd-ext';
import { decodePng } from '@alignprop/diffusion';
import protobuf from 'protobufjs/minimal.js';
import { beforeAll, describe, expect, it } from 'vitest';
import { folderPerTest, out } from '../../../../../fixtures/folder-per-test.js';
import { stepMetrics } from '../../__fixtures__/metrics.js';
import { crc32c, maskedCrc32c } from './crc32c.js';
import { tensorboardTracker } from './tracker.js';

const run = promisify(execFile);
const python = process.env.PYTHON ?? 'python3';
const hasTensorBoard = await run(python, ['-c', 'import tensorboard']).then(
  () => true,
  () => false,
);

beforeAll(() => useBackend('cpu'));

const metrics = (globalStep: number, rewardMean: number) =>
  stepMetrics(globalStep, { rewardMean, rewardTerms: { jpeg: 3 }, loss: -rewardMean, seconds: 1.5 });
const config = {
  train_learning_rate: 1e-3,
  use_lora: true,
  run_name: 'first',
  lora_target_modules: ['to_q', 'to_k'],
  height: null,
};
/** A red image and a grey one, 2 × 3 pixels each. */
const images = () =>
  tensor4d([...Array<number[]>(6).fill([1, 0, 0]), ...Array<number[]>(6).fill([0.5, 0.5, 0.5])].flat(), [2, 2, 3, 3]);

async function writeRun(): Promise<string> {
  const tracker = await tensorboardTracker(out, { config });
  await tracker.log(metrics(0, 1.25));
  await tracker.logImages!(images(), ['a red crab', 'a grey crab'], 0);
  await tracker.log(metrics(1, 2.5));
  await tracker.close();
  const [file] = await readdir(out);
  return join(out, file!);
}

describe('crc32c', () => {
  it('agrees with the test vectors of RFC 3720, appendix B.4', () => {
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i))).toBe(0x46dd794e);
    expect(crc32c(new TextEncoder().encode('123456789'))).toBe(0xe3069283);
  });

  it("is masked as in TensorFlow's record files", () => {
    expect(maskedCrc32c(new TextEncoder().encode('123456789'))).toBe(0xc78ab0e5); // computed by tensorboard 2.21
  });
});

/** The fields of a protocol buffer by number: a reader that shares no code with the writer. */
type Message = Map<number, (number | bigint | Uint8Array)[]>;
function decode(bytes: Uint8Array): Message {
  const reader = protobuf.Reader.create(bytes);
  const fields: Message = new Map();
  while (reader.pos < reader.len) {
    const key = reader.uint32();
    const [id, type] = [key >>> 3, key & 7];
    const value =
      type === 0 ? Number(reader.int64()) : type === 1 ? reader.double() : type === 5 ? reader.float() : reader.bytes();
    fields.set(id, [...(fields.get(id) ?? []), value]);
  }
  return fields;
}
const bytesAt = (message: Message, id: number) => (message.get(id) ?? []) as Uint8Array[];
const messagesAt = (message: Message, id: number) => bytesAt(message, id).map(decode);
const textAt = (message: Message, id: number) =>
  bytesAt(message, id).map((bytes) => new TextDecoder().decode(bytes))[0];

/** Reads the events of a file. Fails where a checksum is wrong. */
function readEvents(file: Uint8Array): Message[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const events: Message[] = [];
  for (let at = 0; at < file.length;) {
    const length = Number(view.getBigUint64(at, true));
    expect(view.getUint32(at + 8, true)).toBe(maskedCrc32c(file.subarray(at, at + 8)));
    const message = file.subarray(at + 12, at + 12 + length);
    expect(view.getUint32(at + 12 + length, true)).toBe(maskedCrc32c(message));
    events.push(decode(message));
    at += 16 + length;
  }
  return events;
}

describe('tensorboardTracker', () => {
  it('names each file as TensorBoard expects, and differently', async () => {
    await Promise.all([tensorboardTracker(out), tensorboardTracker(out)]);
    const files = await readdir(out);
    expect(files).toHaveLength(2);
    for (const file of files) expect(file).toMatch(/^events\.out\.tfevents\.\d{10}\..+\.\d+\.\d+$/);
  });

  it('writes events that decode to the version, scalars, images and texts', async () => {
    const events = readEvents(await readFile(await writeRun()));
    expect(textAt(events[0]!, 3)).toBe('brain.Event:2');
    for (const event of events) expect(Math.abs((event.get(1)![0] as number) - Date.now() / 1000)).toBeLessThan(60);
    const values = events.flatMap((event) =>
      messagesAt(event, 5)
        .flatMap((summary) => messagesAt(summary, 1))
        .map((value) => ({ step: event.get(2)![0], value })),
    );
    const scalars = values
      .filter(({ value }) => value.has(2))
      .map(({ step, value }) => [step, textAt(value, 1), value.get(2)![0]]);
    expect(scalars).toContainEqual([0, 'reward_mean', 1.25]);
    expect(scalars).toContainEqual([1, 'loss', -2.5]);
    expect(scalars).toContainEqual([1, 'reward/jpeg', 3]);
    const pictures = values
      .filter(({ value }) => value.has(4))
      .map(({ value }) => ({ tag: textAt(value, 1), image: messagesAt(value, 4)[0]! }));
    expect(pictures.map(({ tag, image }) => [tag, image.get(1)![0], image.get(2)![0]])).toEqual([
      ['images/0', 2, 3],
      ['images/1', 2, 3],
    ]);
    const png = decodePng(bytesAt(pictures[0]!.image, 4)[0]!);
    expect([png.height, png.width, ...png.data.subarray(0, 3)]).toEqual([2, 3, 255, 0, 0]);
    const texts = values
      .filter(({ value }) => value.has(8))
      .map(({ value }) => [textAt(value, 1), textAt(messagesAt(value, 8)[0]!, 8)]);
    expect(texts).toContainEqual(['images/text_summary', '0. a red crab\n1. a grey crab']);
  });

  it('marks the step at which a run resumes, so that TensorBoard drops later events', async () => {
    await tensorboardTracker(out, { fromStep: 7 });
    const [, restart] = readEvents(await readFile(join(out, (await readdir(out))[0]!)));
    expect([restart!.get(2), messagesAt(restart!, 7)[0]!.get(1)]).toEqual([[7], [1]]);
  });

  // Skipped where Python has no tensorboard; PYTHON names another interpreter.
  it.runIf(hasTensorBoard)(
    "writes files that TensorBoard's own reader accepts",
    async () => {
      await writeRun();
      const again = await tensorboardTracker(out, { fromStep: 1 });
      await again.log(metrics(1, 4));
      const { stdout } = await run(python, ['-c', reader, out]);
      const seen = JSON.parse(stdout) as Record<string, unknown>;
      expect(seen).toMatchObject({
        rewards: [
          [0, 1.25],
          [1, 4],
        ],
        images: ['images/0', 'images/1'],
        size: [3, 2],
        text: ['0. a red crab\n1. a grey crab'],
        hparams: {
          train_learning_rate: 1e-3,
          use_lora: true,
          run_name: 'first',
          lora_target_modules: '["to_q","to_k"]',
          height: 'null',
        },
        metrics: ['reward_mean', 'loss'],
        ended: true,
      });
    },
    120_000,
  );
});

/** A Python program that prints what TensorBoard reads from a folder, as JSON. */
const reader = `
import sys, json
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util import tensor_util
acc = EventAccumulator(sys.argv[1], size_guidance={'images': 0, 'scalars': 0, 'tensors': 0})
acc.Reload()
tags = acc.Tags()
def content(tag): return plugin_data_pb2.HParamsPluginData.FromString(acc.PluginTagToContent('hparams')[tag])
start = content('_hparams_/session_start_info').session_start_info
value = lambda v: getattr(v, v.WhichOneof('kind'))
image = acc.Images('images/0')[0]
print(json.dumps({
  'rewards': [[e.step, e.value] for e in acc.Scalars('reward_mean')],
  'images': sorted(tags['images']), 'size': [image.width, image.height],
  'text': [tensor_util.make_ndarray(e.tensor_proto)[0].decode() for e in acc.Tensors('images/text_summary')],
  'hparams': {k: value(v) for k, v in start.hparams.items()},
  'metrics': [m.name.tag for m in content('_hparams_/experiment').experiment.metric_infos],
  'ended': content('_hparams_/session_end_info').session_end_info.status == 1,
}))
`;

folderPerTest();
