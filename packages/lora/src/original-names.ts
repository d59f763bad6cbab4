import { table } from '@alignprop/autograd-ext/outside';
/** Names of the layers of a residual block in the original code. */
const residualNames = table<string>({
  norm1: 'in_layers.0',
  conv1: 'in_layers.2',
  time_emb_proj: 'emb_layers.1',
  norm2: 'out_layers.0',
  conv2: 'out_layers.3',
  conv_shortcut: 'skip_connection',
});

/** Names of the modules outside the blocks. */
const outerNames = table<string>({
  conv_in: 'input_blocks.0.0',
  'time_embedding.linear_1': 'time_embed.0',
  'time_embedding.linear_2': 'time_embed.2',
  'add_embedding.linear_1': 'label_emb.0.0',
  'add_embedding.linear_2': 'label_emb.0.2',
  conv_norm_out: 'out.0',
  conv_out: 'out.2',
});

/**
 * Returns the names that the modules of a UNet have in the original code of Stable Diffusion (`openaimodel.py`), where
 * the blocks are numbered one by one: `input_blocks.4.1.transformer_blocks.0.attn1.to_q`. The numbers follow from the
 * residual blocks and samplers that the modules belong to. Modules of other models have none.
 */
export function originalNames(modules: readonly string[]): ReadonlyMap<string, readonly string[]> {
  const prefixes = blockPrefixes(modules);
  const names = new Map<string, readonly string[]>();
  for (const module of modules) {
    const outer = outerNames[module];
    if (outer) names.set(module, [outer]);
    const [, block, inner] = /^((?:(?:down|up)_blocks\.\d+|mid_block)\.\w+\.\d+)\.(.+)$/.exec(module) ?? [];
    const prefix = block && prefixes.get(block);
    if (prefix && inner) names.set(module, [`${prefix}.${innerName(block, inner)}`]);
  }
  return names;
}

function innerName(block: string, inner: string): string {
  if (block.includes('.resnets.')) return residualNames[inner] ?? inner;
  return block.includes('.downsamplers.') ? inner.replace(/^conv$/, 'op') : inner;
}

/** Returns the names of residual blocks, attentions and samplers: `input_blocks.2.0` of `down_blocks.0.resnets.1`. */
function blockPrefixes(modules: readonly string[]): ReadonlyMap<string, string> {
  const has = (path: string) => modules.some((module) => module.startsWith(`${path}.`));
  const prefixes = new Map<string, string>();
  numberBlocks('down', { first: 1, has, prefixes });
  numberBlocks('up', { first: 0, has, prefixes });
  for (const [name, number] of [
    ['resnets.0', 0],
    ['attentions.0', 1],
    ['resnets.1', 2],
  ] as const)
    prefixes.set(`mid_block.${name}`, `middle_block.${number}`);
  return prefixes;
}

interface Numbering {
  /** The number of the first block. */
  readonly first: number;
  has(path: string): boolean;
  readonly prefixes: Map<string, string>;
}

/** Numbers the blocks of one side. A downsampler is a block of its own; an upsampler ends the block before it. */
function numberBlocks(side: 'down' | 'up', { first, has, prefixes }: Numbering): void {
  const original = side === 'down' ? 'input_blocks' : 'output_blocks';
  let number = first;
  for (let i = 0; has(`${side}_blocks.${i}`); i++) {
    const path = `${side}_blocks.${i}`;
    let last = 0;
    for (let j = 0; has(`${path}.resnets.${j}`); j++, number++) {
      prefixes.set(`${path}.resnets.${j}`, `${original}.${number}.0`);
      prefixes.set(`${path}.attentions.${j}`, `${original}.${number}.1`);
      last = has(`${path}.attentions.${j}`) ? 2 : 1;
    }
    if (has(`${path}.downsamplers.0`)) prefixes.set(`${path}.downsamplers.0`, `${original}.${number++}.0`);
    if (has(`${path}.upsamplers.0`)) prefixes.set(`${path}.upsamplers.0`, `${original}.${number - 1}.${last}`);
  }
}
