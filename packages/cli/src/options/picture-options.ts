import type { Command } from 'commander';
import { integerParser } from './option-parsers.js';

/** The options that bound the pictures of a report. */
export interface PictureOptions {
  readonly maxImages: number;
}

/** Adds `--max-images`. */
export const addMaxImages = (command: Command): Command =>
  command.option(
    '--max-images <n>',
    'Most pictures of each kind and run. If there are more, steps are left out evenly; the page says how many.',
    integerParser(0),
    100,
  );
