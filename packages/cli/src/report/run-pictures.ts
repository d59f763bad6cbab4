import { readdir, readFile, stat } from 'node:fs/promises';
import { ifPresent, isTemporaryName } from '@alignprop/autograd-ext/weights';
import { cutSheet, type SheetImage } from '../images/sheet.js';

/** The pictures of a run at one of its steps. */
export interface StepPictures {
  readonly step: number;
  readonly images: readonly SheetImage[];
}

/** Pictures of a run over time. */
export interface PictureSeries {
  /** In the order of their steps. */
  readonly shown: readonly StepPictures[];
  /** The number of steps that have pictures, those left out included. */
  readonly total: number;
  /** The most pictures of a step. */
  readonly perStep: number;
}

/** Held-out pictures before and after training, from the same noise. */
export interface ComparedPictures {
  readonly before: readonly SheetImage[];
  readonly after: readonly SheetImage[];
  /** The moments of both: 'before training', 'after 40 steps'. */
  readonly labels: readonly [string, string];
}

/** The pictures of a run. */
export interface RunPictures {
  /** Training images, drawn before the step of their number. */
  readonly samples: PictureSeries;
  /** Held-out images. */
  readonly evaluations: PictureSeries;
  readonly compared?: ComparedPictures;
  /** The files that cannot be read, relative to the folder. */
  readonly damaged: readonly string[];
}

/** The most pixels of a side; larger pictures are averaged down. */
const MAX_SIDE = 192;

/** Reads the pictures of runs. Sheets that have not changed since they were read last are not read again. */
export class PictureReader {
  readonly #maxImages: number;
  readonly #cut = new Map<string, readonly SheetImage[] | undefined>();

  /** @param maxImages the most pictures of a kind and run; steps are left out evenly, the first and the last stay */
  constructor(maxImages: number) {
    this.#maxImages = maxImages;
  }

  /** Reads the pictures in the folder of a run. */
  async read(folder: string): Promise<RunPictures> {
    const damaged: string[] = [];
    const sheet = async (name: string, rows = 1): Promise<readonly SheetImage[] | undefined> => {
      const images = await this.#sheet(`${folder}/${name}`, rows);
      if (images === undefined) damaged.push(name);
      return images;
    };
    const samples = await this.#series(folder, 'samples', sheet);
    const evaluations = await this.#series(folder, 'evaluations', sheet);
    const compared = await this.#compared(evaluations, sheet);
    return { samples, evaluations, ...(compared && { compared }), damaged };
  }

  /** The images of a file; none if it is not there, undefined if it cannot be read. */
  async #sheet(path: string, rows: number): Promise<readonly SheetImage[] | undefined> {
    const file = await ifPresent(stat(path));
    if (!file) return [];
    const key = `${path}:${file.size}:${file.mtimeMs}`;
    if (!this.#cut.has(key)) this.#cut.set(key, cutReadable(await readFile(path), rows));
    return this.#cut.get(key);
  }

  async #series(
    folder: string,
    kind: string,
    sheet: (name: string) => Promise<readonly SheetImage[] | undefined>,
  ): Promise<PictureSeries> {
    const names = ((await ifPresent(readdir(`${folder}/${kind}`))) ?? []).filter((name) => !isTemporaryName(name));
    const steps = names
      .flatMap((name) => /^step_(\d+)\.png$/.exec(name)?.[1] ?? [])
      .map((digits) => ({ step: Number(digits), name: `${kind}/step_${digits}.png` }))
      .sort((a, b) => a.step - b.step);
    if (steps.length === 0 || this.#maxImages === 0) return { shown: [], total: steps.length, perStep: 0 };
    const perStep = (await sheet(steps.at(-1)!.name))?.length ?? 1;
    const shown: StepPictures[] = [];
    for (const { step, name } of evenly(steps, Math.max(1, Math.floor(this.#maxImages / perStep)))) {
      const images = await sheet(name);
      if (images) shown.push({ step, images: images.slice(0, this.#maxImages) });
    }
    return { shown, total: steps.length, perStep };
  }

  /** The comparison at the end of training, or else the first and the last evaluation. */
  async #compared(
    { shown }: PictureSeries,
    sheet: (name: string, rows: number) => Promise<readonly SheetImage[] | undefined>,
  ): Promise<ComparedPictures | undefined> {
    if (this.#maxImages === 0) return undefined;
    const both = (await sheet('before-after.png', 2)) ?? [];
    const half = both.length / 2;
    const limit = Math.ceil(this.#maxImages / 2);
    if (half >= 1 && Number.isInteger(half)) {
      const [before, after] = [both.slice(0, half), both.slice(half)];
      return {
        before: before.slice(0, limit),
        after: after.slice(0, limit),
        labels: ['before training', 'after training'],
      };
    }
    const [first, last] = [shown[0], shown.at(-1)];
    if (!first || !last || first === last) return undefined;
    const labels = [first, last].map(({ step }) => (step === 0 ? 'before training' : `after ${step} steps`));
    return {
      before: first.images.slice(0, limit),
      after: last.images.slice(0, limit),
      labels: labels as [string, string],
    };
  }
}

/** The images of a sheet; undefined if it is damaged. */
function cutReadable(png: Uint8Array, rows: number): readonly SheetImage[] | undefined {
  try {
    return cutSheet(png, { rows, maxSide: MAX_SIDE });
  } catch {
    return undefined;
  }
}

/** Takes at most `count` items, evenly spaced, with the last and, from two on, the first. */
function evenly<T>(items: readonly T[], count: number): readonly T[] {
  if (items.length <= count) return items;
  if (count === 1) return items.slice(-1);
  return Array.from({ length: count }, (_, i) => items[Math.round((i * (items.length - 1)) / (count - 1))]!);
}
