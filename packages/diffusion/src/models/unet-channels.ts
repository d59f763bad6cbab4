/**
 * Checks that a UNet takes noisy latents alone.
 * @param subject the UNet in messages
 * @param channels its input channels
 * @param latents those of the VAE's latents
 * @throws if it takes more, which it says the UNet is for
 */
export function checkChannels(subject: string, channels: number, latents: number): void {
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
