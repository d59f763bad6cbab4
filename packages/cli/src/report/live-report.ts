import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { ifPresent } from '@alignprop/autograd-ext/weights';
import { reportContent, type ReportContent } from './content.js';
import { readRuns } from './reported-run.js';
import { PictureReader } from './run-pictures.js';

/** The content of a page at some moment. */
export interface ReportVersion {
  /** Differs from that of every other content. */
  readonly version: string;
  readonly content: ReportContent;
  /** PNG files by the addresses that the content has for them. */
  readonly pictures: ReadonlyMap<string, Uint8Array>;
}

/** The files and folders of a run whose changes show in a report. */
const watched = [
  ...['run.json', 'run.lock', 'metrics.jsonl', 'evaluations.jsonl', 'samples', 'evaluations', 'before-after.png'],
  ...['pytorch_lora_weights.safetensors', 'unet'],
];

/** The report of runs that may go on: reads their folders again when files in them have changed. */
export class LiveReport {
  readonly #folders: readonly string[];
  readonly #reader: PictureReader;
  readonly #addresses = new WeakMap<Uint8Array, string>();
  #latest: Promise<ReportVersion | undefined> = Promise.resolve(undefined);

  constructor(folders: readonly string[], maxImages: number) {
    this.#folders = folders;
    this.#reader = new PictureReader(maxImages);
  }

  /** Returns the newest content, read once for all that ask at the same time. @throws as `readRuns` */
  current(): Promise<ReportVersion> {
    const next = this.#latest.then(
      (latest) => this.#refreshed(latest),
      () => this.#refreshed(undefined), // the failure of an earlier call
    );
    this.#latest = next;
    return next;
  }

  async #refreshed(latest: ReportVersion | undefined): Promise<ReportVersion> {
    const version = await this.#fingerprint(); // before reading: what changes meanwhile shows at the next call
    if (version === latest?.version) return latest;
    const runs = await readRuns('watch', this.#folders, this.#reader);
    const pictures = new Map<string, Uint8Array>();
    const content = reportContent(runs, (png) => {
      const address = this.#addressOf(png);
      pictures.set(address, png);
      return address;
    });
    return { version, content, pictures };
  }

  #addressOf(png: Uint8Array): string {
    const address = this.#addresses.get(png) ?? `pictures/${hashOf(png)}.png`;
    this.#addresses.set(png, address);
    return address;
  }

  async #fingerprint(): Promise<string> {
    const paths = this.#folders.flatMap((folder) => watched.map((name) => `${folder}/${name}`));
    const files = await Promise.all(paths.map((path) => ifPresent(stat(path))));
    return hashOf(JSON.stringify(files.map((file) => file && [file.size, file.mtimeMs])));
  }
}

const hashOf = (content: string | Uint8Array): string => createHash('sha256').update(content).digest('hex');
