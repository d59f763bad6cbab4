// Checks bundles for browsers: esbuild makes them without settings, they are small, and hold only what is used.
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

interface Case {
  readonly title: string;
  readonly program: string;
  /** Largest size in kilobytes of 1000 bytes, minified and zipped, without tfjs. */
  readonly limit: number;
  /** Words that must not occur: names in messages and file formats, which minifiers keep. */
  readonly foreign: readonly string[];
}

/** Words of the engine that writes ONNX graphs, which browsers load where they use it. */
const onnx = ['alignprop-recorder', 'ai.onnx'];

const cases: readonly Case[] = [
  {
    title: 'silu',
    program: "export { silu } from '@alignprop/autograd-ext';",
    limit: 20,
    foreign: [...onnx, 'HF_ENDPOINT', 'useBackend'],
  },
  {
    title: 'jpegCompressibility',
    program: "export { jpegCompressibility } from '@alignprop/rewards';",
    limit: 55,
    foreign: [...onnx, 'UNet2DConditionModel'],
  },
  {
    title: 'all rewards',
    program: "export * from '@alignprop/rewards';",
    limit: 95,
    foreign: [
      'UNet2DConditionModel',
      'AutoencoderKL',
      'DDIMScheduler',
      'StableDiffusionPipeline.generate', // messages name diffusers' class too
      'AlignPropTrainer',
      'loraAlpha',
      'encodePng',
    ],
  },
  {
    title: 'StableDiffusionPipeline',
    program: "export { StableDiffusionPipeline } from '@alignprop/diffusion';",
    limit: 165,
    foreign: ['AlignPropTrainer', 'loraAlpha', 'aestheticScore'],
  },
];

/**
 * Not counted: tfjs, and what loads on demand, tfjs's .wasm file and CLIP's vocabulary. Nothing else is external:
 * imports of Node's modules would fail.
 */
const external = ['@tensorflow/*', './wasm-binary.js', './packed-merges-*'];

/**
 * Bundles programs that use the packages installed in a folder.
 * @throws if a bundle contains foreign code or exceeds its limit
 */
export async function checkBundles(home: string): Promise<string> {
  const lines: string[] = [];
  for (const { title, program, limit, foreign } of cases) {
    const { text, minified, zipped } = await bundle(home, program);
    const found = foreign.filter((name) => text.includes(name));
    if (found.length > 0)
      throw new Error(
        `dist-smoke: the bundle of ${title} contains ${found.join(', ')}. ` +
          'Find the import that brings it, and the sideEffects of its package.json.',
      );
    if (zipped > limit)
      throw new Error(
        `dist-smoke: the bundle of ${title} has ${zipped} kB zipped, expected at most ${limit}. ` +
          'Find out what was added, or raise the limit on purpose.',
      );
    lines.push(`bundle of ${title}: ${minified} kB, ${zipped} kB zipped (at most ${limit})`);
  }
  return `${lines.join('\n')}\ntfjs, its .wasm file and CLIP's vocabulary are not counted`;
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
