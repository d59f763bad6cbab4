import { parseJson } from '@alignprop/autograd-ext/outside';
import { ifPresent, isTemporaryName, type PushedFiles } from '@alignprop/autograd-ext/weights';
import { adapterFile } from '../model/trained-weights.js';

/** The name of the model card in a run's folder. */
export const modelCardFile = 'README.md';
/** The beginning of the line by which a model card of ours is known: others are left as they are. */
export const cardMark = '<!-- Written by alignprop';

/** Whether the model card in a folder is one of ours, whose users have not removed the mark. */
export async function hasCardMark(folder: string): Promise<boolean> {
  const { readFile } = await import('node:fs/promises');
  return ((await ifPresent(readFile(`${folder}/${modelCardFile}`, 'utf8'))) ?? '').includes(cardMark);
}

/** Options that name places on the machine of the run. */
const places: readonly string[] = ['output_dir', 'logdir', 'project_kwargs', 'tracker_kwargs'];

/**
 * The files of an ended run that are published, by their paths in a repository: the adapter (that of the best
 * evaluation, where there is one) or the UNet, the model card, the configuration without names of places, and pictures
 * of the model before and after training.
 * @throws if the run has not ended
 */
export async function publishedFiles(folder: string): Promise<PushedFiles> {
  const weights = (await weightsIn(`${folder}/best`)) ?? (await weightsIn(folder));
  if (!weights || !(await weightsIn(folder)))
    throw new Error(
      `publishedFiles: '${folder}' got no ${adapterFile} and no unet/, expected the weights of a run that has ended. ` +
        'Check the path, or resume the run and let it end.',
    );
  const card = await existing(folder, [modelCardFile, 'before-after.png']);
  return { ...weights, ...card, ...(await configuration(folder)), ...(await picturesOf(folder)) };
}

/** The files of the trained weights in a folder; undefined if there are none. */
async function weightsIn(folder: string): Promise<PushedFiles | undefined> {
  const adapter = await existing(folder, [adapterFile]);
  if (Object.keys(adapter).length > 0) return adapter;
  const names = (await namesIn(`${folder}/unet`)).filter((name) => /\.(json|safetensors)$/.test(name));
  if (names.length === 0) return undefined;
  return Object.fromEntries(names.map((name) => [`unet/${name}`, `${folder}/unet/${name}`]));
}

async function configuration(folder: string): Promise<PushedFiles> {
  const { readFile } = await import('node:fs/promises');
  const text = await ifPresent(readFile(`${folder}/config.json`, 'utf8'));
  if (text === undefined) return {};
  const kept = Object.entries(parseJson(text) as object).filter(([key]) => !places.includes(key));
  return { 'config.json': new TextEncoder().encode(`${JSON.stringify(Object.fromEntries(kept), null, 2)}\n`) };
}

/** Pictures of single held-out prompts, and the first and last sheets of training and of evaluations. */
async function picturesOf(folder: string): Promise<PushedFiles> {
  const files: Record<string, string>[] = [];
  for (const name of ['pictures', 'samples', 'evaluations']) {
    const names = (await namesIn(`${folder}/${name}`)).filter((file) => file.endsWith('.png'));
    const chosen = name === 'pictures' ? names : [...new Set([names[0], names.at(-1)])];
    for (const file of chosen) if (file !== undefined) files.push({ [`${name}/${file}`]: `${folder}/${name}/${file}` });
  }
  return Object.assign({}, ...files) as PushedFiles;
}

async function namesIn(folder: string): Promise<readonly string[]> {
  const { readdir } = await import('node:fs/promises');
  return ((await ifPresent(readdir(folder))) ?? []).filter((name) => !isTemporaryName(name)).sort();
}

async function existing(folder: string, names: readonly string[]): Promise<PushedFiles> {
  const found = await namesIn(folder);
  return Object.fromEntries(names.filter((name) => found.includes(name)).map((name) => [name, `${folder}/${name}`]));
}
