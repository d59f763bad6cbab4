import { acceleratorProblem } from './accelerator-options.js';

/** The options whose combinations are refused alike by both trainers. */
interface SharedOptions {
  readonly use_lora: boolean;
  readonly lora_kind: string;
  readonly train_lr_warmup_steps: number;
  readonly train_lr_scheduler: string;
  readonly ema_export: boolean;
  readonly ema_decay: number;
  readonly early_stopping_patience: number | null;
  readonly eval_freq: number | null;
  readonly eval_images_per_prompt: number;
  readonly on_collapse: string;
  readonly accelerator_kwargs: Readonly<Record<string, unknown>>;
}

/** Calls `refuse` for each option that does not fit the others, or is not implemented. */
export function refuseShared(config: SharedOptions, refuse: (key: keyof SharedOptions, message: string) => void): void {
  if (config.lora_kind === 'dora' && !config.use_lora)
    refuse('lora_kind', "got 'dora', expected 'lora' with use_lora false: there is no adapter.");
  if (config.train_lr_warmup_steps > 0 && config.train_lr_scheduler === 'constant')
    refuse(
      'train_lr_warmup_steps',
      `got ${config.train_lr_warmup_steps}, expected 0 with train_lr_scheduler 'constant'. Try 'constant_with_warmup'.`,
    );
  if (config.ema_export && config.ema_decay === 0)
    refuse('ema_export', 'got true, expected false without ema_decay. Set ema_decay, 0.99 for instance.');
  if (config.early_stopping_patience !== null && config.eval_freq === null)
    refuse(
      'early_stopping_patience',
      `got ${config.early_stopping_patience}, expected null without eval_freq. Set eval_freq.`,
    );
  if (config.on_collapse !== 'ignore' && (config.eval_freq === null || config.eval_images_per_prompt < 2))
    refuse(
      'on_collapse',
      `got '${config.on_collapse}', expected 'ignore' without eval_freq and 2 or more eval_images_per_prompt, ` +
        'whose diversity it watches.',
    );
  const problem = acceleratorProblem(config.accelerator_kwargs);
  if (problem) refuse('accelerator_kwargs', problem);
}
