// TRL's examples/scripts/alignprop.py: trains Stable Diffusion on LAION's aesthetic predictor with prompts of animals.
// It has the script's flags and those of AlignPropConfig, in the forms --num_epochs=20 and --num_epochs 20.
import { parseArgs } from 'node:util';
import { StableDiffusionPipeline } from '@alignprop/diffusion';
import { aesthetic } from '@alignprop/rewards';
import { AlignPropTrainer, alignPropConfigSchema, parseAlignPropConfig, trainableUNet } from '@alignprop/trainer';

const script = {
  pretrained_model: 'stable-diffusion-v1-5/stable-diffusion-v1-5',
  pretrained_revision: 'main',
  hf_hub_model_id: 'alignprop-finetuned-stable-diffusion',
  hf_hub_aesthetic_model_id: 'trl-lib/ddpo-aesthetic-predictor',
  hf_hub_aesthetic_model_filename: 'aesthetic-model.pth',
  clip_model: 'openai/clip-vit-large-patch14',
};
const animals = [
  ...['cat', 'dog', 'horse', 'monkey', 'rabbit', 'zebra', 'spider', 'bird', 'sheep', 'deer', 'cow', 'goat', 'lion'],
  ...['frog', 'chicken', 'duck', 'goose', 'bee', 'pig', 'turkey', 'fly', 'llama', 'camel', 'bat', 'gorilla'],
  ...['hedgehog', 'kangaroo'],
];

const names = [...Object.keys(script), ...Object.keys(alignPropConfigSchema.shape)];
const { values } = parseArgs({ options: Object.fromEntries(names.map((name) => [name, { type: 'string' }])) });
const given = values as Record<string, string>;
const own = { ...script, ...given };

/** The flags of AlignPropConfig: numbers, true, false and lists as JSON, everything else as text. */
const config = parseAlignPropConfig({
  project_kwargs: { logging_dir: './logs', automatic_checkpoint_naming: true, total_limit: 5, project_dir: './save' },
  ...Object.fromEntries(
    Object.entries(given).flatMap(([name, text]) => (name in script ? [] : [[name, parseValue(text)]])),
  ),
});

function parseValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

const pipeline = await StableDiffusionPipeline.fromPretrained(own.pretrained_model, {
  revision: own.pretrained_revision,
});
const head = `${own.hf_hub_aesthetic_model_id}/${own.hf_hub_aesthetic_model_filename}`;
const trainer = new AlignPropTrainer({
  config,
  pipeline: config.use_lora ? pipeline : await trainableUNet(pipeline),
  rewardFunction: await aesthetic({ weights: own.clip_model, head }),
  promptFunction: (generator) => animals[generator.randint(0, animals.length, 1)[0]!]!,
  imageSamplesHook: async ({ images, prompts, rewards }, globalStep, tracker) => {
    const scores = [...(await rewards.data())];
    const captions = prompts.map((prompt, i) => `${prompt} | ${scores[i]!.toFixed(2)}`);
    await tracker.logImages?.(images, captions, globalStep, { prompts, rewards: scores });
  },
});
for await (const { globalStep, rewardMean } of trainer.train()) console.log(`step ${globalStep}: reward ${rewardMean}`);
if (config.push_to_hub) await trainer.pushToHub(own.hf_hub_model_id);
trainer.dispose();
