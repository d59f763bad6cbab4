// Checks the bundle of an application that uses the rewards in a browser: it must be small, without the UNet, the VAE,
// adapters or the trainer.
import { builtinModules } from 'node:module';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

/** Names of classes and functions that the bundle must not contain; minifiers keep them, in errors and file formats. */
const foreign = [
  'UNet2DConditionModel',
  'AutoencoderKL',
  'DDIMScheduler',
  'StableDiffusionPipeline.generate', // messages name diffusers' class too
  'AlignPropTrainer',
  'loraAlpha',
  'encodePng',
];

/**
 * Largest size in kilobytes of 1000 bytes, minified and zipped, without tfjs-core and optional packages: it is 152 with
 * the kernels of the tensorflow backend, heartbeats of locks and the limits of what comes from outside.
 */
const limit = 160;

// Peers and optional packages come with the application; browsers never reach the imports of Node's modules.
const external = [
  '@tensorflow/tfjs-core',
  '@tensorflow/tfjs-backend-*',
  '@tensorflow/tfjs-converter',
  '@tensorflow/tfjs-layers',
  'onnxruntime-*',
  'nsfwjs/*',
  'node:*',
  ...builtinModules,
];

/**
 * Bundles all of @alignprop/rewards as installed in a folder.
 * @throws if the bundle contains foreign code or exceeds the limit
 */
export async function checkRewardsBundle(home: string): Promise<string> {
  const all = await bundle(home, "export * from '@alignprop/rewards';");
  const found = foreign.filter((name) => all.text.includes(name));
  if (found.length > 0)
    throw new Error(
      `dist-smoke: the bundle of @alignprop/rewards contains ${found.join(', ')}. ` +
        `Import '@alignprop/diffusion/clip' only, and look into its chunks.`,
    );
  if (all.zipped > limit)
    throw new Error(
      `dist-smoke: the bundle of @alignprop/rewards has ${all.zipped} kB zipped, expected at most ${limit}. ` +
        `Find out what was added, or raise the limit on purpose.`,
    );
  const one = await bundle(home, "export { jpegCompressibility } from '@alignprop/rewards';");
  const size = ({ minified, zipped }: Bundle): string => `${minified} kB, ${zipped} kB zipped`;
  return (
    `rewards: all of them bundle to ${size(all)} (at most ${limit}), jpegCompressibility alone to ${size(one)}; ` +
    `tfjs-core not counted`
  );
}

interface Bundle {
  readonly text: string;
  readonly minified: number;
  readonly zipped: number;
}

async function bundle(home: string, contents: string): Promise<Bundle> {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: home },
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'browser',
    minify: true,
    external,
    logLevel: 'silent',
  });
  const [{ text, contents: bytes }] = outputFiles as [(typeof outputFiles)[number]];
  return { text, minified: Math.round(bytes.length / 1000), zipped: Math.round(gzipSync(bytes).length / 1000) };
}
