import type { Tensor4D } from '@tensorflow/tfjs-core';
import { encodePng, toUint8 } from '@alignprop/diffusion';
import { evaluationRecord, metricsRecord } from '../metrics.js';
import type { Tracker } from '../tracker.js';
import {
  encodeEvent,
  hyperParameterSummaries,
  imageSummary,
  scalarSummary,
  sessionEndSummary,
  textSummary,
  type Content,
} from './event.js';
import { tfRecord } from './record.js';

export interface TensorBoardOptions {
  /** Hyper-parameters of the run. Values other than strings, numbers and booleans are written as JSON. */
  config?: Readonly<Record<string, unknown>>;
  /** TensorBoard drops the events of this step and later ones in earlier files of the folder. */
  fromStep?: number;
}

/** Tags of the metrics by which the HParams page compares runs. */
const comparedMetrics = ['reward_mean', 'loss'];

/**
 * Writes a TensorBoard event file into a folder: metrics as scalars, images with their captions, and hyper-parameters.
 * An event is in the file when the call that logs it resolves, so `tensorboard --logdir <folder>` follows the training.
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
  const writeImages = async (tag: string, images: Tensor4D, captions: readonly string[], step: number) =>
    write({
      step,
      summaries: [
        ...(await imageSummaries(tag, images)),
        textSummary(tag, captions.map((caption, i) => `${i}. ${caption}`).join('\n')),
      ],
    });
  let lastStep = fromStep;

  await write({ fileVersion: 'brain.Event:2' }, ...(fromStep > 0 ? [{ restartAt: fromStep }] : []));
  if (Object.keys(config).length > 0)
    await write({
      step: fromStep,
      summaries: [
        ...hyperParameterSummaries(flat(config), comparedMetrics, now()),
        textSummary('config', asCode(config)),
      ],
    });
  return {
    log(step) {
      const { epoch: _, global_step, ...values } = metricsRecord(step);
      lastStep = global_step!;
      return write({
        step: lastStep,
        summaries: Object.entries(values).map(([tag, value]) => scalarSummary(tag, value)),
      });
    },
    logEvaluation(metrics) {
      const { global_step, ...values } = evaluationRecord(metrics);
      return write({
        step: global_step!,
        summaries: Object.entries(values).map(([tag, value]) => scalarSummary(tag, value)),
      });
    },
    logImages: (images, captions, step) => writeImages('images', images, captions, step),
    logEvaluationImages: (images, captions, step) => writeImages('evaluation', images, captions, step),
    close: () =>
      Object.keys(config).length > 0 ? write({ step: lastStep, summaries: [sessionEndSummary(now())] }) : undefined,
  };
}

// Ends the file's name: one process may open several files within a second.
let nextFile = 0;

const now = (): number => Date.now() / 1000;

async function imageSummaries(tag: string, images: Tensor4D) {
  const [, height, width] = images.shape;
  return (await toUint8(images)).map((pixels, i) =>
    imageSummary(`${tag}/${i}`, encodePng(pixels, { height, width }), { height, width }),
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
