import type { CLIPTokenizer } from '@alignprop/diffusion';
import type { AlignPropConfig } from '@alignprop/trainer';
import type { RunPrompts } from '../options/prompt-options.js';
import type { Output } from '../terminal/output.js';

/** How many prompts of a list are checked for their length: 10⁴ take a second. */
const checkedCount = 10_000;

/** How much of a long text is shown. */
const shownLength = 60;

/**
 * Says which columns the prompts come from and what was skipped, and warns of negative prompts without effect and of
 * prompts that are too long for the text encoder.
 */
export function reportPrompts(
  { training, evaluation }: RunPrompts,
  { sample_guidance_scale, negative_prompts }: Pick<AlignPropConfig, 'sample_guidance_scale' | 'negative_prompts'>,
  tokenizer: CLIPTokenizer,
  output: Output,
): void {
  const sources = evaluation ? [training, evaluation] : [training];
  for (const { remarks, warnings } of sources) {
    for (const remark of remarks) output.info(remark);
    for (const warning of warnings) output.warn(warning);
  }
  const negatives = sources.flatMap(({ list }) => list.negativePrompts ?? []).filter((text) => text !== undefined);
  const isGuided = sample_guidance_scale > 1;
  if (!isGuided && negatives.length > 0)
    output.warn('the column of negative prompts has no effect without guidance (--sample-guidance-scale above 1).');
  warnOfLength('training', training.list.prompts, tokenizer, output);
  warnOfLength('held-out', evaluation?.list.prompts ?? [], tokenizer, output);
  if (isGuided) warnOfLength('negative', [...[negative_prompts ?? []].flat(), ...negatives], tokenizer, output);
}

/** Warns once for a list of prompts: how many are cut, the first of them, and what it loses. */
function warnOfLength(kind: string, prompts: readonly string[], tokenizer: CLIPTokenizer, output: Output): void {
  const checked = prompts.slice(0, checkedCount);
  if (checked.length === 0) return;
  const { truncated } = tokenizer.encode(checked);
  const first = truncated.findIndex((text) => text !== '');
  if (first < 0) return;
  const count = truncated.filter((text) => text !== '').length;
  const among = checked.length < prompts.length ? `the first ${checked.length}` : `${checked.length}`;
  const limit = `too long for the ${tokenizer.modelMaxLength} tokens of the text encoder`;
  output.warn(
    `${count} of ${among} ${kind} prompts ${count === 1 ? 'is' : 'are'} ${limit} and cut. ` +
      `The first is '${shortened(checked[first]!)}': '${shortened(truncated[first]!.trim())}' is left out.`,
  );
}

const shortened = (text: string): string => (text.length > shownLength ? `${text.slice(0, shownLength)}…` : text);
