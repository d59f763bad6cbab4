import { readJson, type FileSource } from '@alignprop/autograd-ext/weights';
import { table } from '@alignprop/autograd-ext/outside';
import { clipTextConfig } from '../clip/clip-config.js';
import { autoencoders, type AutoencoderClass } from '../models/autoencoder.js';
import { unet2DConditionConfig } from '../models/unet-2d-condition-config.js';
import type { ConfigInput } from '../models/model-config.js';

/** The numbers of the parts' configs that have to fit. */
interface Sizes {
  readonly unet: { readonly in_channels: number; readonly out_channels: number; readonly cross_attention_dim: unknown };
  readonly vae: { readonly latent_channels: number };
  readonly textEncoder: { readonly hidden_size: number };
}

/**
 * Reads the configs of a pipeline's models and checks that they make up a text-to-image pipeline, before any weights
 * are opened or downloaded.
 * @param autoencoder the class of the VAE
 * @throws if a config has unsupported values, or the UNet belongs to another kind of pipeline, which it names
 */
export async function checkPartConfigs(source: FileSource, autoencoder: AutoencoderClass): Promise<void> {
  const read = async (part: string) => (await readJson(source, `${part}/config.json`)) as ConfigInput;
  const [unet, vae, text] = [await read('unet'), await read('vae'), await read('text_encoder')];
  const subject = `StableDiffusionPipeline: ${source.location}/unet/config.json`;
  checkKind(subject, unet, (vae.latent_channels as number | undefined) ?? LATENT_CHANNELS);
  checkSizes(subject, {
    unet: unet2DConditionConfig(unet),
    vae: new autoencoders[autoencoder](vae, {}).config,
    textEncoder: clipTextConfig(text),
  });
}

const LATENT_CHANNELS = 4;

/**
 * Checks that the parts of a pipeline fit one another.
 * @throws if the UNet's channels are not the VAE's, or its cross-attention is not as wide as the text encoder
 */
export function checkSizes(subject: string, { unet, vae, textEncoder }: Sizes): void {
  const { latent_channels: latents } = vae;
  checkChannels(subject, unet.in_channels, latents);
  if (unet.out_channels !== latents)
    throw new Error(
      `${subject}: out_channels got ${unet.out_channels}, expected ${latents}, the VAE's latent_channels. ` +
        'Only UNets that predict one number per latent are supported.',
    );
  const widths = [unet.cross_attention_dim].flat();
  if (widths.some((width) => width !== textEncoder.hidden_size))
    throw new Error(
      `${subject}: cross_attention_dim got ${JSON.stringify(unet.cross_attention_dim)}, ` +
        `expected ${textEncoder.hidden_size}, the text encoder's hidden_size. Take both from the same model.`,
    );
}

/** @throws if prompts would have more tokens than the text encoder has positions */
export function checkLength(tokens: number, positions: number): void {
  if (tokens <= positions) return;
  throw new Error(
    `StableDiffusionPipeline: the tokenizer's model_max_length got ${tokens}, expected at most ${positions}, the ` +
      "text encoder's max_position_embeddings. Take both from the same model.",
  );
}

/** @throws if the UNet takes other inputs than latents, time and text; names the kind of pipeline that it belongs to */
function checkKind(subject: string, unet: ConfigInput, latents: number): void {
  if (typeof unet.in_channels === 'number') checkChannels(subject, unet.in_channels, latents);
  const [field] = Object.keys(otherKinds).filter((name) => unet[name] !== undefined && unet[name] !== null);
  if (field === undefined) return;
  throw new Error(
    `${subject}: ${field} got ${JSON.stringify(unet[field])}, expected null: ${otherKinds[field]}. ` +
      'Only text-to-image UNets of Stable Diffusion 1.x and 2.x are supported.',
  );
}

function checkChannels(subject: string, channels: number, latents: number): void {
  if (channels === latents) return;
  const kind = kindsByExtraChannels[channels - latents];
  throw new Error(
    `${subject}: in_channels got ${channels}, expected ${latents}, the VAE's latent_channels` +
      `${kind ? `: it is ${kind}` : ''}. Only text-to-image UNets can be loaded.`,
  );
}

/** The kinds of UNets by the number of input channels in addition to the noisy latents. */
const kindsByExtraChannels: Readonly<Record<number, string>> = {
  1: 'a depth-to-image UNet, which also takes a depth map',
  3: 'an upscaler, which also takes an image of low resolution',
  4: 'a UNet that edits images (InstructPix2Pix, latent upscaler), which also takes the latents of an image',
  5: 'an inpainting UNet, which also takes a mask and the latents of a masked image',
};

/** The kinds of UNets by the fields that text-to-image UNets leave null. */
const otherKinds = table<string>({
  addition_embed_type: 'it is a UNet of SDXL or of another family with additional embeddings',
  encoder_hid_dim_type: 'it is a UNet with its own projection of prompts (Kandinsky, DeepFloyd IF, IP-Adapter)',
  class_embed_type: 'it is a UNet with an additional condition (unCLIP, AudioLDM)',
  num_class_embeds: 'it is a UNet with classes or noise levels (upscalers)',
  time_cond_proj_dim: 'it is a UNet that takes the guidance scale as an input (latent consistency models)',
});
