import type { CLIPTokenizer } from '@alignprop/diffusion';
import type { AlignPropConfig } from '@alignprop/trainer';
import type { RunPrompts } from '../options/prompt-options.js';
import type { Output } from '../terminal/output.js';

/** How many prompts of a list are checked for their length: 10⁴ take a second. */
const checkedCount = 10_000;

/** The number of cut prompts that are named, and of characters shown of each. */
const shownCount = 3;
const shownLength = 60;

type ReportConfig = Pick<AlignPropConfig, 'sample_guidance_scale' | 'negative_prompts'> &
  Partial<Pick<AlignPropConfig, 'long_prompts'>>;

/**
 * Says which columns the prompts come from and what was skipped, and warns of negative prompts without effect and of
 * prompts that are too long for the text encoder.
 */
export function reportPrompts(
  { training, evaluation }: RunPrompts,
  { sample_guidance_scale, negative_prompts, long_prompts: areWhole }: ReportConfig,
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
  if (areWhole) return;
  warnOfLength('training', training.list.prompts, tokenizer, output);
  warnOfLength('held-out', evaluation?.list.prompts ?? [], tokenizer, output);
  if (isGuided) warnOfLength('negative', [...[negative_prompts ?? []].flat(), ...negatives], tokenizer, output);
}

/** Warns once for a list of prompts: how many are cut, and what the first of them lose. */
function warnOfLength(kind: string, prompts: readonly string[], tokenizer: CLIPTokenizer, output: Output): void {
  const checked = prompts.slice(0, checkedCount);
  if (checked.length === 0) return;
  const { truncated } = tokenizer.encode(checked);
  const lost = new Map(checked.map((prompt, i) => [prompt, truncated[i]!.trim()] as const).filter(([, text]) => text));
  if (lost.size === 0) return;
  const count = truncated.filter((text) => text !== '').length;
  const among = checked.length < prompts.length ? `the first ${checked.length}` : `${checked.length}`;
  const limit = `too long for the ${tokenizer.modelMaxLength} tokens of the text encoder`;
  const named = [...lost]
    .slice(0, shownCount)
    .map(([prompt, text]) => `'${shortened(text)}' of '${shortened(prompt)}'`);
  const more = lost.size > shownCount ? `, and the ends of ${lost.size - shownCount} more` : '';
  output.warn(
    `${count} of ${among} ${kind} prompts ${count === 1 ? 'is' : 'are'} ${limit} and cut. ` +
      `Left out: ${named.join(', ')}${more}. --long-prompts encodes all of them.`,
  );
}

const shortened = (text: string): string => (text.length > shownLength ? `${text.slice(0, shownLength)}…` : text);
