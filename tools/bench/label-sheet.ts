// tsx tools/bench/label-sheet.ts out/demo/before-after.png docs/before-after.png: writes the names of rows and columns
// beside the sheet of a demo, which has them in its text.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { decodePng } from '@alignprop/diffusion';
import sharp from 'sharp';

export interface SheetLabels {
  /** The names of the rows, written to the left. */
  readonly rows: readonly string[];
  /** The names of the columns, written above. */
  readonly columns: readonly string[];
}

const font = 13;

/** Returns a sheet of pictures of one size with its labels, as a PNG file with at most 256 colours. */
export async function labelSheet(sheet: Uint8Array, { rows, columns }: SheetLabels): Promise<Uint8Array> {
  const { width, height } = decodePng(sheet);
  const top = 22;
  const left = 12 + 7 * Math.max(...rows.map((name) => name.length));
  const row = height / rows.length;
  const column = width / columns.length;
  const narrow = Math.min(font, (1.6 * column) / Math.max(...columns.map((name) => name.length)));
  const names = [
    ...columns.map((name, i) => text(name, { x: left + (i + 0.5) * column, y: 15, anchor: 'middle', size: narrow })),
    ...rows.map((name, i) => text(name, { x: left - 8, y: top + (i + 0.5) * row + 4, anchor: 'end', size: font })),
  ];
  const labels = `<svg xmlns="http://www.w3.org/2000/svg" width="${left + width}" height="${top + height}"
    font-family="sans-serif">${names.join('')}</svg>`;
  const margins = { top, left, background: 'white' };
  return sharp(await sharp(sheet).extend(margins).toBuffer())
    .composite([{ input: Buffer.from(labels) }])
    .png({ palette: true, effort: 10 })
    .toBuffer();
}

const text = (name: string, { x, y, anchor, size }: { x: number; y: number; anchor: string; size: number }): string =>
  `<text x="${x}" y="${y}" text-anchor="${anchor}" font-size="${size}">${name}</text>`;

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [input, output] = process.argv.slice(2) as [string, string];
  const sheet = readFileSync(input);
  const [prompts = ''] = (decodePng(sheet).text.parameters ?? '').split('\n');
  const columns = prompts.split(', ').map((prompt) => prompt.replace(/ \(reward .*\)/, ''));
  writeFileSync(output, await labelSheet(sheet, { rows: ['before', 'after'], columns }));
}
