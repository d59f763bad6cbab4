import { excerpt, table } from '@alignprop/autograd-ext/outside';
import type { Logger } from '../logger.js';
import { canonicalJson } from './canonical-json.js';
import type { RunManifest } from './manifest.js';

/**
 * What a resumed run does about an option that differs from the checkpoint's:
 * - `free`: nothing, since the numbers stay those of the run
 * - `warned`: goes on with the new value and says so
 * - `evaluation`: likewise, and forgets the best evaluation so far, which is not comparable with later ones
 * - `refused`: stops, unless the name is forced
 * - `fixed`: stops, since the tensors of the checkpoint have other names or shapes
 */
type Rule = 'free' | 'warned' | 'evaluation' | 'refused' | 'fixed';

const named = <R extends Rule>(rule: R, names: readonly string[]): Record<string, R> =>
  Object.fromEntries(names.map((name) => [name, rule]));

/** The table of all options and of all parts of an identity. A name that is missing here is refused. */
export const resumeRules = table<Rule>({
  ...named('free', [
    // names, places, and how often something is written
    ...['exp_name', 'run_name', 'logdir', 'output_dir', 'overwrite_output_dir', 'resume_from', 'project_kwargs'],
    ...['log_with', 'log_image_freq', 'tracker_kwargs', 'tracker_project_name', 'push_to_hub', 'accelerator_kwargs'],
    ...['num_epochs', 'save_freq', 'num_checkpoint_limit', 'eval_freq', 'early_stopping_patience', 'on_collapse'],
    'ema_export',
    // without an effect on numbers here
    ...['allow_tf32', 'max_workers', 'async_reward_computation', 'on_nonfinite'],
    ...['reward_retries', 'on_reward_error'],
  ]),
  ...named('warned', [
    ...['train_batch_size', 'train_gradient_accumulation_steps', 'train_learning_rate', 'train_lr_scheduler'],
    ...['train_lr_warmup_steps', 'train_adam_beta1', 'train_adam_beta2', 'train_adam_weight_decay'],
    ...['train_adam_epsilon', 'train_max_grad_norm', 'kl_weight', 'norm_weight', 'lora_init'],
    ...['data_weight', 'data_batch_size', 'data_caption_dropout', 'data', 'reward_perturbation', 'weight_perturbation'],
    ...['estimator', 'estimator_steps', 'estimator_copies', 'estimator_last', 'backprop_strategy', 'backprop_kwargs'],
    ...['cfg_gradient', 'cfg_gradient_compensation', 'reuse_features', 'reuse_features_block', 'reward_crop'],
    ...['estimator_late_bias', 'estimator_rescale', 'estimator_coupling', 'estimator_order', 'estimator_floor'],
    'estimator_images',
    ...['truncated_backprop_rand', 'truncated_backprop_timestep', 'truncated_rand_backprop_minmax'],
    ...['sample_batch_size', 'sample_num_batches_per_epoch', 'train_num_inner_epochs', 'train_timestep_fraction'],
    ...['train_cfg', 'train_adv_clip_max', 'train_clip_range', 'per_prompt_stat_tracking'],
    ...['per_prompt_stat_tracking_buffer_size', 'per_prompt_stat_tracking_min_count'],
    ...['prompts', 'engine'],
  ]),
  ...named('evaluation', [
    ...['seed', 'mixed_precision', 'ema_decay', 'eval_images_per_prompt', 'eval_prompts', 'eval_reward'],
    ...['eval_num_steps', 'eval_eta', 'eval_guidance_scale', 'eval_negative_prompts', 'eval_height', 'eval_width'],
    'eval_seed',
    ...['sample_num_steps', 'sample_eta', 'sample_guidance_scale', 'negative_prompts', 'height', 'width'],
    ...['guidance_interval', 'clip_skip', 'long_prompts'],
  ]),
  ...named('refused', ['scheduler', 'lora_alpha', 'model', 'embeddings', 'lora', 'reward', 'reward_decoder']),
  ...named('fixed', [
    ...['use_lora', 'train_text_encoder', 'lora_kind', 'lora_rank', 'lora_target_modules', 'train_use_8bit_adam'],
    'algorithm',
  ]),
});

/** An option or a part of the identity that a checkpoint has otherwise. */
interface Difference {
  readonly name: string;
  readonly rule: Rule;
  readonly stored: string;
  readonly current: string;
}

/** Returns what differs, in the order of the table; options that either side does not know are not compared. */
function differences(stored: RunManifest, current: RunManifest): readonly Difference[] {
  const found: Difference[] = [];
  const add = (name: string, before: string, after: string): void => {
    found.push({ name, rule: resumeRules[name] ?? 'refused', stored: excerpt(before), current: excerpt(after) });
  };
  if (stored.algorithm !== current.algorithm) add('algorithm', stored.algorithm, current.algorithm);
  for (const [name, value] of Object.entries(current.config)) {
    if (!Object.hasOwn(stored.config, name)) continue;
    const [before, after] = [canonicalJson(stored.config[name]), canonicalJson(value)];
    if (before !== after) add(name, before, after);
  }
  if (stored.identity && current.identity) {
    for (const name of new Set([...Object.keys(stored.identity), ...Object.keys(current.identity)])) {
      const [before, after] = [stored.identity[name], current.identity[name]];
      if (before?.sha256 !== after?.sha256) add(name, describePart(before, after), describePart(after, before));
    }
  }
  return found;
}

type Part = NonNullable<RunManifest['identity']>[string];

/** Names a part; with its hash, if the other one has the same name. */
function describePart(part: Part | undefined, other: Part | undefined): string {
  if (!part) return 'none';
  return part.name === other?.name ? `${part.name} (sha256 ${part.sha256.slice(0, 8)}…)` : part.name;
}

export interface ResumeCheck {
  /** The checkpoint's path, for messages. */
  readonly path: string;
  readonly stored: RunManifest;
  readonly current: RunManifest;
  /** Names of differences that are accepted although they are refused otherwise. */
  readonly force?: readonly string[];
}

/**
 * Compares a run with the checkpoint that it resumes from, by `resumeRules`, and warns of what changes.
 * @returns whether the best evaluation so far is still comparable with later ones
 * @throws one error that names each difference that is refused, with both values
 */
export function checkResume({ path, stored, current, force = [] }: ResumeCheck, logger: Logger): boolean {
  const found = differences(stored, current).filter(({ rule }) => rule !== 'free');
  const isRefused = ({ name, rule }: Difference) =>
    rule === 'fixed' || (rule === 'refused' && !force.some((forced) => forced.replaceAll('-', '_') === name));
  const refused = found.filter(isRefused);
  if (refused.length > 0) throw new Error(describeRefused(path, refused));
  if (!stored.identity !== !current.identity)
    logger.warn(
      `resume_from: ${stored.identity ? 'this run' : path} does not say which model, reward and prompts it has, ` +
        'so that these cannot be compared. Check that they are those of the run.',
    );
  const isComparable = !found.some(({ rule }) => rule === 'evaluation');
  for (const { name, rule, stored: before, current: after } of found)
    logger.warn(
      `resume_from: ${name} changes from ${before} to ${after}.` +
        (rule === 'evaluation' ? ' Evaluations are no longer comparable: the best so far is forgotten.' : ''),
    );
  return isComparable;
}

function describeRefused(path: string, refused: readonly Difference[]): string {
  const lines = refused.map(({ name, stored, current }) => `${name} got ${current}, expected ${stored}`);
  const forcible = refused.filter(({ rule }) => rule === 'refused').map(({ name }) => name);
  const it = refused.length > 1 ? 'them' : 'it';
  const force = forcible.length > 0 ? `, or accept the change with --force ${forcible.join(' --force ')}` : '';
  const start = `${force ? ',' : ' or'} start another run in a new output_dir`;
  return `resume_from: ${lines.join('; ')}, as in ${path}. Leave ${it} as the run has ${it}${start}${force}.`;
}
