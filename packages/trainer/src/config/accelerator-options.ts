import { excerptList, table } from '@alignprop/autograd-ext/outside';

const noLoader = 'prompts come from a function, not from a data loader';
const notSharded = 'weights are not sharded: frozen ones are mapped from their files, adapters are small';

/** Why the options of accelerate's `Accelerator` are not here, or what to use in their place. */
const explanations = table<string>({
  cpu: 'the engine decides: pass one to the pipeline, or give the command --device cpu',
  device_placement: 'the engine places tensors',
  mixed_precision: 'set mixed_precision itself',
  gradient_accumulation_steps: 'set train_gradient_accumulation_steps',
  gradient_accumulation_plugin: 'set train_gradient_accumulation_steps',
  log_with: 'set log_with itself',
  project_dir: 'set output_dir, or project_kwargs.project_dir',
  project_config: 'set project_kwargs',
  rng_types: 'all generators are saved and restored in any case',
  step_scheduler_with_optimizer: 'the learning rate is a function of the optimizer step',
  kwargs_handlers: 'the gradients of all processes are averaged exactly; float16 losses are scaled automatically',
  dynamo_backend: 'graphs are always compiled',
  dynamo_plugin: 'graphs are always compiled',
  split_batches: noLoader,
  dispatch_batches: noLoader,
  even_batches: noLoader,
  use_seedable_sampler: noLoader,
  dataloader_config: noLoader,
  deepspeed_plugin: notSharded,
  deepspeed_plugins: notSharded,
  fsdp_plugin: notSharded,
  megatron_lm_plugin: notSharded,
  torch_tp_plugin: notSharded,
  parallelism_config: 'several processes each train on their own images, under Open MPI',
});

/** Says why `accelerator_kwargs` is refused; undefined for `{}`. */
export function acceleratorProblem(options: Readonly<Record<string, unknown>>): string | undefined {
  const names = Object.keys(options);
  if (names.length === 0) return undefined;
  const reasons = names.map((name) => `${name}: ${explanations[name] ?? 'accelerate has no such option'}`);
  return `got ${excerptList(names)}, expected {}. ${excerptList(reasons, 8, 200, '; ')}.`;
}
