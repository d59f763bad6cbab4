import type { CLIPTokenizer } from '../clip/tokenizer.js';

/**
 * Writes all tokens of embeddings with several vectors into a prompt, as diffusers' `maybe_convert_prompt` does: `<x>`
 * becomes `<x> <x>_1 <x>_2`. As there with transformers 5, a token with capital letters, in its name or in the prompt,
 * stands for its first vector alone.
 */
export function expandPrompt(prompt: string, tokenizer: CLIPTokenizer): string {
  return tokenizer.addedTextsIn(prompt).reduce((text, token) => {
    const tokens = [token];
    while (tokenizer.hasAdded(`${token}_${tokens.length}`)) tokens.push(`${token}_${tokens.length}`);
    return tokens.length === 1 || !tokenizer.hasAdded(token) ? text : text.replaceAll(token, () => tokens.join(' '));
  }, prompt);
}
