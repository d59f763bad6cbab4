import type { Command } from 'commander';
import { table } from '@alignprop/autograd-ext/outside';

/** A command as `alignprop --help` lists it, and the module that implements it. */
export interface ListedCommand {
  /** In lower case and without a full stop. */
  readonly summary: string;
  /** Imports the module, whose `defineCommand` adds arguments, options and the action. */
  readonly load: () => Promise<{ readonly defineCommand: (command: Command) => void }>;
}

/** All commands. A module is imported only when its command runs: help and version need none and print at once. */
export const commandList = table<ListedCommand>({
  train: { summary: 'fine-tune a LoRA adapter with a differentiable reward', load: () => import('./train.js') },
  resume: { summary: 'go on with a training run, with its own options', load: () => import('./resume.js') },
  generate: { summary: 'generate images from prompts', load: () => import('./generate.js') },
  score: { summary: 'score images with rewards', load: () => import('./score.js') },
  reward: { summary: 'check a reward of your own, or start one', load: () => import('./reward.js') },
  report: { summary: 'write a page with curves and pictures of runs', load: () => import('./report.js') },
  watch: { summary: 'serve that page while runs go on, and update it', load: () => import('./watch.js') },
  push: { summary: 'upload a run to the Hugging Face hub', load: () => import('./push.js') },
  setup: { summary: 'build what an optional backend needs', load: () => import('./setup.js') },
  export: { summary: 'convert an adapter to the file format of another program', load: () => import('./export.js') },
  convert: {
    summary: "convert a checkpoint in one file to diffusers' layout",
    load: () => import('./convert.js'),
  },
  doctor: { summary: 'check engines, memory, the hub and packages on this machine', load: () => import('./doctor.js') },
  demo: { summary: 'try it out: train the embedded model for about two minutes', load: () => import('./demo.js') },
});
