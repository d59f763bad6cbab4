import { table } from '@alignprop/autograd-ext/outside';
import { commandLine } from '../terminal/shell.js';
import { codeBlock } from './markdown.js';
import { isAdapter, nameOf, type RunFacts } from './run-facts.js';

/** The classes of diffusers that draw as the run did. */
const schedulerClasses = table<string>({
  ddim: 'DDIMScheduler',
  ddpm: 'DDPMScheduler',
  euler: 'EulerDiscreteScheduler',
  'euler-ancestral': 'EulerAncestralDiscreteScheduler',
  lcm: 'LCMScheduler',
  tcd: 'TCDScheduler',
});

/** Says how to draw with the published weights in diffusers, here, and in ComfyUI and A1111. */
export function howToUse(facts: RunFacts): string {
  const isUNet = !isAdapter(facts);
  return ['## How to use it', inDiffusers(facts, isUNet), ...(isUNet ? [] : [here(facts), elsewhere(facts)])].join(
    '\n\n',
  );
}

const adapter = 'pytorch_lora_weights.safetensors';

const settingsOf = ({ manifest, prompts }: RunFacts) => ({
  prompt: prompts[0] ?? 'a fox',
  steps: Number(manifest.config.sample_num_steps),
  guidance: Number(manifest.config.sample_guidance_scale),
  eta: Number(manifest.config.sample_eta),
  scheduler: String(manifest.config.scheduler),
});

/** Texts in JSON are texts in Python too. */
function inDiffusers(facts: RunFacts, isUNet: boolean): string {
  const { base, repository } = facts;
  const { prompt, steps, guidance, eta, scheduler } = settingsOf(facts);
  const folder = base.isEmbedded ? 'node_modules/@alignprop/cli/models' : 'path/to';
  const model = JSON.stringify(base.id ?? `${folder}/${base.name}`);
  const name = JSON.stringify(repository);
  const schedulerClass = schedulerClasses[scheduler];
  const imports = ['DiffusionPipeline', ...(isUNet ? ['UNet2DConditionModel'] : []), schedulerClass ?? ''];
  const options = [
    JSON.stringify(prompt),
    `num_inference_steps=${steps}`,
    `guidance_scale=${guidance}`,
    ...(scheduler === 'ddim' ? [`eta=${eta}`] : []),
  ];
  return [
    '### diffusers',
    '',
    codeBlock(
      'python',
      `from diffusers import ${imports.filter(Boolean).sort().join(', ')}`,
      '',
      ...(isUNet
        ? [
            `unet = UNet2DConditionModel.from_pretrained(${name}, subfolder="unet")`,
            `pipe = DiffusionPipeline.from_pretrained(${model}, unet=unet)`,
          ]
        : [
            `pipe = DiffusionPipeline.from_pretrained(${model})`,
            `pipe.load_lora_weights(${name}, weight_name="${adapter}")`,
          ]),
      ...(schedulerClass ? [`pipe.scheduler = ${schedulerClass}.from_config(pipe.scheduler.config)`] : []),
      `image = pipe(${options.join(', ')}).images[0]`,
    ),
  ].join('\n');
}

function here(facts: RunFacts): string {
  const { base, repository } = facts;
  const { prompt, steps, guidance, eta, scheduler } = settingsOf(facts);
  const words = [
    ...['npx', '@alignprop/cli', 'generate', '--prompt', prompt, ...modelWords(base)],
    ...['--lora', `${repository}/${adapter}`, '--scheduler', scheduler, '--steps', `${steps}`],
    ...['--guidance-scale', `${guidance}`, ...(scheduler === 'ddim' ? ['--eta', `${eta}`] : []), '-o', 'image.png'],
  ];
  return ['### alignprop', '', codeBlock('sh', commandLine(words, 'posix'))].join('\n');
}

const modelWords = ({ id, name, isEmbedded }: RunFacts['base']): readonly string[] =>
  isEmbedded ? [] : ['--model', id ?? `path/to/${name}`];

/** Names the file format of each program. */
function elsewhere({ base, repository }: RunFacts): string {
  const file = `${nameOf(repository)}.safetensors`;
  const words = ['npx', '@alignprop/cli', 'export', `${repository}/${adapter}`, ...modelWords(base), '-o', file];
  return [
    '### ComfyUI and A1111',
    '',
    `\`${adapter}\` has the names of diffusers. ComfyUI and A1111 read kohya's, which this writes:`,
    '',
    codeBlock('sh', commandLine(words, 'posix')),
    '',
    `For ComfyUI copy \`${file}\` to \`models/loras/\`, and connect a _Load LoRA_ node. For A1111 copy it to ` +
      `\`models/Lora/\`, and write \`<lora:${file.replace(/\.safetensors$/, '')}:1>\` into the prompt. ` +
      'For peft add `--format peft`, and name a folder.',
  ].join('\n');
}
