import { readFileSync, writeFileSync } from 'node:fs';

/** The results of a comparison: its numbers, its figure, and its tables in markdown. */
export interface Results {
  readonly numbers: unknown;
  readonly figure?: string;
  readonly tables: string;
}

/**
 * Writes results beside a page: numbers, rounded to six digits, to PATH.json, the figure, if any, to PATH.svg, and the
 * tables into PATH.md, between `<!-- table -->` and `<!-- end of table -->`.
 */
export function writePage(path: string, { numbers, figure, tables }: Results): void {
  const rounded = (_: string, value: unknown) => (typeof value === 'number' ? Number(value.toPrecision(6)) : value);
  writeFileSync(`${path}.json`, `${JSON.stringify(numbers, rounded)}\n`);
  if (figure) writeFileSync(`${path}.svg`, figure);
  const page = readFileSync(`${path}.md`, 'utf8').replace(
    /(<!-- table -->\n)[^]*(<!-- end of table -->)/,
    (_, begin: string, end: string) => `${begin}${tables}\n${end}`,
  );
  writeFileSync(`${path}.md`, page);
}
