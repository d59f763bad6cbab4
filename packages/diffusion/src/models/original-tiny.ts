import { excerptList } from '@alignprop/autograd-ext/outside';
import type { StoredTensor } from '@alignprop/autograd-ext';
import { openWeights, type FileSource } from '@alignprop/autograd-ext/weights';
import type { OpenedModel } from './pretrained-model.js';

/**
 * Opens the files of a tiny autoencoder as its authors publish them (github.com/madebyollin/taesd): `<name>_encoder`
 * and `<name>_decoder`, safetensors or torch, whose keys are indices of layers.
 * @throws if one of the two is missing, or the folder holds several decoders; lists the files
 */
export async function openOriginalTiny(folder: FileSource): Promise<OpenedModel> {
  const decoderFile = await findDecoder(folder);
  const encoderFile = await findEncoder(folder, decoderFile);
  // Layer 0 of the original decoder is the bounding of latents, which diffusers' decoder has outside its layers.
  const decoder = await openHalf(folder, decoderFile, 'decoder', -1);
  const encoder = await openHalf(folder, encoderFile, 'encoder', 0);
  const width = decoder.get('decoder.layers.0.weight')?.shape;
  const config = width && { latent_channels: width[1]!, ...widths(width[0]!) };
  return { config: config ?? {}, weights: new Map([...encoder, ...decoder]) };
}

const widths = (width: number) => {
  const levels = [width, width, width, width];
  return { encoder_block_out_channels: levels, decoder_block_out_channels: levels };
};

const decoderPattern = /^(\w+)_decoder\.(?:safetensors|pth)$/;

async function findDecoder(folder: FileSource): Promise<string> {
  const files = await folder.list();
  const found = files.filter((name) => decoderPattern.test(name));
  const [file] = found.toSorted((a, b) => Number(a.endsWith('.pth')) - Number(b.endsWith('.pth')));
  const names = new Set(found.map((name) => decoderPattern.exec(name)![1]));
  if (file !== undefined && names.size === 1) return file;
  throw new Error(
    `AutoencoderTiny: '${folder.location}' got ${excerptList(files) || 'no file'}, expected config.json and weights, ` +
      'or one pair of files such as taesd_encoder.safetensors and taesd_decoder.safetensors. Check the path.',
  );
}

async function findEncoder(folder: FileSource, decoder: string): Promise<string> {
  const name = decoder.replace('_decoder.', '_encoder.');
  const candidates = [name, name.replace(/\.\w+$/, '.safetensors'), name.replace(/\.\w+$/, '.pth')];
  for (const candidate of candidates) if (await folder.has(candidate)) return candidate;
  throw new Error(
    `AutoencoderTiny: '${folder.location}' got ${decoder} without its encoder, expected ${name} beside it. ` +
      'Download both.',
  );
}

/** Opens a half of the model and renames its keys as diffusers does. */
async function openHalf(
  folder: FileSource,
  file: string,
  half: 'encoder' | 'decoder',
  shift: number,
): Promise<Map<string, StoredTensor>> {
  const weights = await openWeights(folder, file);
  return new Map(
    [...weights].map(([key, tensor]) => {
      const name = key.replace(/^\d+/, (index) => `${Number(index) + shift}`);
      return [`${half}.layers.${name}`, tensor];
    }),
  );
}
