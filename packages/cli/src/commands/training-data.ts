import { random } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import { encodeExample, priorExamples, type AlignPropConfig, type DataExample } from '@alignprop/trainer';
import { singleProcess, type Collective } from '@alignprop/trainer/distributed';
import { coverImage } from '../images/cover-image.js';
import { readImage } from '../images/read-image.js';
import { describeData, type RunData } from '../options/data-options.js';
import { isAlignProp } from '../options/run-config.js';
import type { Output } from '../terminal/output.js';
import type { TrainingJob } from './training-run.js';

/** A job with data. */
interface DataJob<D extends RunData = RunData> {
  readonly data: D;
  readonly config: AlignPropConfig;
  readonly prompts: readonly string[];
  readonly collective: Collective;
}

/**
 * Returns the data of a job as latents: encodes its files, or draws pictures, of which each process draws its share.
 * @returns undefined without data
 * @throws if a file is no picture that can be read, or the model is a few-step model
 */
export async function trainingData(
  { data, config, prompts: { prompts }, collective = singleProcess, loadBefore }: TrainingJob,
  output: Output,
): Promise<readonly DataExample[] | undefined> {
  if (!data || !loadBefore || !isAlignProp(config)) return undefined;
  const pipeline = await loadBefore();
  const job = { config, prompts, collective };
  try {
    return data.kind === 'files'
      ? await encodeFiles({ ...job, data }, pipeline, output)
      : await drawPrior({ ...job, data }, pipeline, output);
  } finally {
    pipeline.dispose(); // its engine is its own
  }
}

async function encodeFiles(
  { data, config }: DataJob<Extract<RunData, { kind: 'files' }>>,
  pipeline: StableDiffusionPipeline,
  output: Output,
): Promise<readonly DataExample[]> {
  const size = dataSize(pipeline, config);
  output.info(`Encoding ${describeData(data)}, resized and cropped to ${size.width} × ${size.height}`);
  const generator = random(config.seed);
  const examples: DataExample[] = [];
  const progress = output.progress('Picture', data.files.length);
  try {
    for (const { path, caption } of data.files) {
      const image = coverImage(await readImage(path), size);
      examples.push(await encodeExample(pipeline, { caption, image }, generator));
      progress.update(examples.length);
    }
  } finally {
    progress.stop();
  }
  return examples;
}

async function drawPrior(
  { data, config, prompts, collective: { rank, size } }: DataJob<Extract<RunData, { kind: 'prior' }>>,
  pipeline: StableDiffusionPipeline,
  output: Output,
): Promise<readonly DataExample[]> {
  const count = Math.ceil(data.count / size);
  output.info(`Drawing ${describeData(data)} before training, which --data-weight keeps it near`);
  const progress = output.progress('Picture', count);
  try {
    const seed = config.seed + rank;
    return await priorExamples(pipeline, {
      config,
      prompts,
      count,
      seed,
      onPicture: (drawn) => progress.update(drawn),
    });
  } finally {
    progress.stop();
  }
}

/** The size of the images of a run in pixels. */
function dataSize(
  pipeline: StableDiffusionPipeline,
  config: Pick<AlignPropConfig, 'height' | 'width'>,
): { height: number; width: number } {
  const [height, width] = [config.height ?? pipeline.defaultSize[0], config.width ?? pipeline.defaultSize[1]];
  return { height, width };
}
