import type { Tensor4D } from '@tensorflow/tfjs-core';
import { encodePng, toUint8 } from '@alignprop/diffusion';
import { artifactRecord, filesRecord, type RecordContent, type RunDescription } from './record.js';

/** A value of the history whose contents lie in files, with the records that upload these. */
export interface Media {
  readonly value: Readonly<Record<string, unknown>>;
  readonly records: readonly RecordContent[];
}

/**
 * Writes images below `files/media/images`.
 * @param files the run's folder `files`
 * @param images `[B, H, W, 3]` in [0, 1]
 */
export async function writeImages(
  files: string,
  key: string,
  step: number,
  images: Tensor4D,
  captions: readonly string[],
): Promise<Media> {
  const [, height, width] = images.shape;
  const paths: string[] = [];
  for (const pixels of await toUint8(images))
    paths.push((await writeMedia(files, `images/${key}_${step}`, 'png', encodePng(pixels, { height, width }))).path);
  return {
    value: {
      _type: 'images/separated',
      width,
      height,
      format: 'png',
      count: paths.length,
      filenames: paths,
      captions,
    },
    records: [filesRecord(paths)],
  };
}

/**
 * Writes a table below `files/media/table`, and as an artifact, from which W&B's page shows it.
 * @param columns the values of each column by its name
 */
export async function writeTable(
  files: string,
  key: string,
  step: number,
  run: RunDescription,
  columns: Readonly<Record<string, readonly (string | number)[]>>,
): Promise<Media> {
  const { createHash } = await import('node:crypto');
  const { resolve } = await import('node:path');
  const names = Object.keys(columns);
  const data = Object.values(columns)[0]!.map((_, row) => names.map((name) => columns[name]![row]!));
  const sizes = { ncols: names.length, nrows: data.length };
  const table = { _type: 'table', column_types: columnTypes(columns), columns: names, data, ...sizes };
  const content = new TextEncoder().encode(JSON.stringify(table));
  const { path, sha256 } = await writeMedia(files, `table/${key}_${step}`, 'table.json', content);
  const name = `${key}.table.json`;
  const md5 = createHash('md5').update(content).digest('base64');
  const clientId = randomId(128);
  const artifact = artifactRecord({
    run,
    key,
    digest: createHash('md5').update(`wandb-artifact-manifest-v1\n${name}:${md5}\n`).digest('hex'),
    clientId,
    sequenceClientId: randomId(128),
    file: { name, path: resolve(files, path), size: content.length, md5 },
  });
  return {
    value: {
      _type: 'table-file',
      ...sizes,
      path,
      sha256,
      size: content.length,
      artifact_path: `wandb-client-artifact://${clientId}/${name}`,
    },
    records: [artifact, filesRecord([path])],
  };
}

/** A random identifier of lower-case letters and digits. */
export const randomId = (length: number): string =>
  Array.from(crypto.getRandomValues(new Uint8Array(length)), (byte) => (byte % 36).toString(36)).join('');

/** Writes a file whose name ends with its checksum. @returns its path below `files`, and the whole checksum */
async function writeMedia(
  files: string,
  name: string,
  extension: string,
  content: Uint8Array,
): Promise<{ readonly path: string; readonly sha256: string }> {
  const { createHash } = await import('node:crypto');
  const { mkdir, writeFile } = await import('node:fs/promises');
  const { dirname } = await import('node:path');
  const sha256 = createHash('sha256').update(content).digest('hex');
  const path = `media/${name}_${sha256.slice(0, 20)}.${extension}`;
  await mkdir(dirname(`${files}/${path}`), { recursive: true });
  await writeFile(`${files}/${path}`, content);
  return { path, sha256 };
}

/** The types of columns, in the words of W&B's tables. */
const columnTypes = (columns: Readonly<Record<string, readonly (string | number)[]>>) => ({
  wb_type: 'typedDict',
  params: {
    type_map: Object.fromEntries(
      Object.entries(columns).map(([name, values]) => [
        name,
        { wb_type: values.every((value) => typeof value === 'number') ? 'number' : 'string' },
      ]),
    ),
  },
});
