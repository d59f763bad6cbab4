// TRL's page on AlignProp, "Using the finetuned model": loads an adapter into a pipeline and draws a list of prompts.
// Arguments: a model and an adapter; the embedded model and its adapter for four steps by default.
import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { StableDiffusionPipeline, TCDScheduler } from '@alignprop/diffusion';
import { withLora } from '@alignprop/lora';

const embedded = (name: string) => fileURLToPath(new URL(`../packages/cli/models/${name}`, import.meta.url));
const [model = embedded('tiny-emoji'), adapter = embedded('tiny-emoji-tcd')] = process.argv.slice(2);

const base = await StableDiffusionPipeline.fromPretrained(model);
const pipeline = withLora(base.with({ scheduler: TCDScheduler.fromConfig(base.scheduler.config) }));
await pipeline.loadLoraWeights(adapter);

const prompts = ['squirrel', 'crab', 'starfish', 'whale', 'sponge', 'plankton'];
const images = await pipeline.generate({ prompt: prompts, numInferenceSteps: 4, guidanceScale: 1 });
await mkdir('dump', { recursive: true });
for (const [i, image] of images.entries()) await image.save(`dump/${prompts[i]}.png`);
pipeline.dispose();
