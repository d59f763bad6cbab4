import { readFile } from 'node:fs/promises';
import { ifPresent, writeFileAtomic } from '@alignprop/autograd-ext/weights';
import { cardMark, modelCardFile, type RunManifest } from '@alignprop/trainer';
import { modelCard } from './model-card.js';
import { nameOf, readFacts, type RunFacts } from './run-facts.js';

/** Facts that the folder of a run does not tell. */
export type CardParts = Pick<RunFacts, 'base' | 'repository' | 'prompts' | 'compared' | 'isXL'>;

/**
 * Writes the model card of an ended run into its folder, unless a card is there that is not ours.
 * @returns whether it wrote one
 */
export async function writeCard(folder: string, manifest: RunManifest, parts: CardParts): Promise<boolean> {
  const path = `${folder}/${modelCardFile}`;
  const earlier = await ifPresent(readFile(path, 'utf8'));
  if (earlier !== undefined && !earlier.includes(cardMark)) return false;
  await writeFileAtomic(path, modelCard({ manifest, ...parts, ...(await readFacts(folder, manifest)) }));
  return true;
}

/** Returns a model card for a repository in place of the one that it was written for; other cards as they are. */
export function forRepository(card: string, id: string): string {
  const [, before] = new RegExp(`^${cardMark} for (\\S+)\\. Remove`, 'm').exec(card) ?? [];
  if (before === undefined) return card;
  const [old, name] = [nameOf(before), nameOf(id)];
  const places = new RegExp(`(^# |^ +- name: "|(?<![\\w.-])|<lora:)${escaped(old)}(?=$|"$|\\.safetensors|:1>)`, 'gm');
  return card.replaceAll(before, id).replace(places, (_, start: string) => `${start}${name}`);
}

const escaped = (text: string): string => text.replace(/[.]/g, '\\.');
