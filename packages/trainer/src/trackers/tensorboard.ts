import type { Tensor4D } from '@tensorflow/tfjs-core';
import { encodePng, toUint8 } from '@alignprop/diffusion';
import { evaluationRecord, metricsRecord } from '../step/metrics.js';
import type { Tracker } from './tracker.js';
import {
  encodeEvent,
  hyperParameterSummaries,
  imageSummary,
  scalarSummary,
  sessionEndSummary,
  textSummary,
  type Content,
} from './tensorboard/event.js';
import { tfRecord } from './tensorboard/record.js';

export interface TensorBoardOptions {
  /** The run's hyper-parameters; values that are neither text, number nor truth value are written as JSON. */
  config?: Readonly<Record<string, unknown>>;
  /** TensorBoard forgets what earlier files of the folder say of this step and later ones. */
  fromStep?: number;
}

// What the HParams page compares runs by.
const metrics = ['reward_mean', 'loss'];

/**
 * Writes a TensorBoard event file into a folder: metrics as scalars, images and their captions, hyper-parameters. Every
 * event is in the file when the call resolves. `tensorboard --logdir <folder>` shows it, while training too.
 * @throws if the folder cannot be written
 */
export async function tensorboardTracker(
  folder: string,
  { config = {}, fromStep = 0 }: TensorBoardOptions = {},
): Promise<Tracker> {
  const { appendFile, mkdir } = await import('node:fs/promises');
  const { hostname } = await import('node:os');
  await mkdir(folder, { recursive: true });
  const path = `${folder}/events.out.tfevents.${Math.floor(now())}.${hostname()}.${process.pid}.${nextFile++}`;
  const write = (...contents: Content[]) =>
    appendFile(path, Buffer.concat(contents.map((content) => tfRecord(encodeEvent(content, now())))));
  let last = fromStep;

  await write({ fileVersion: 'brain.Event:2' }, ...(fromStep > 0 ? [{ restartAt: fromStep }] : []));
  if (Object.keys(config).length > 0)
    await write({
      step: fromStep,
      summaries: [...hyperParameterSummaries(flat(config), metrics, now()), textSummary('config', asCode(config))],
    });
  return {
    log(step) {
      const { epoch: _, global_step, ...values } = metricsRecord(step);
      last = global_step!;
      return write({ step: last, summaries: Object.entries(values).map(([tag, value]) => scalarSummary(tag, value)) });
    },
    logEvaluation(metrics) {
      const { global_step, ...values } = evaluationRecord(metrics);
      return write({
        step: global_step!,
        summaries: Object.entries(values).map(([tag, value]) => scalarSummary(tag, value)),
      });
    },
    async logImages(images, captions, step) {
      await write({
        step,
        summaries: [
          ...(await imageSummaries(images)),
          textSummary('images', captions.map((caption, i) => `${i}. ${caption}`).join('\n')),
        ],
      });
    },
    close: () =>
      Object.keys(config).length > 0 ? write({ step: last, summaries: [sessionEndSummary(now())] }) : undefined,
  };
}

// Files that one process opens within a second need names of their own.
let nextFile = 0;

const now = (): number => Date.now() / 1000;

async function imageSummaries(images: Tensor4D) {
  const [, height, width] = images.shape;
  return (await toUint8(images)).map((pixels, i) =>
    imageSummary(`images/${i}`, encodePng(pixels, { height, width }), { height, width }),
  );
}

const asCode = (config: Readonly<Record<string, unknown>>): string =>
  JSON.stringify(config, null, 2).replace(/^/gm, '    ');

const flat = (config: Readonly<Record<string, unknown>>): Record<string, boolean | number | string> =>
  Object.fromEntries(
    Object.entries(config).map(([name, value]) => [name, isPlain(value) ? value : (JSON.stringify(value) ?? '')]),
  );

const isPlain = (value: unknown): value is boolean | number | string =>
  ['boolean', 'number', 'string'].includes(typeof value);
