// tsx tools/bench/growth.ts [--engine onnxruntime] [--output docs/growth]
// How time and memory of a training step grow with steps, attached steps, batch and image size: a table on stdout, a plot as SVG.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { median, type Row } from './table.js';

const { values: flags } = parseArgs({ options: { engine: { type: 'string', default: 'onnxruntime' }, output: { type: 'string', default: 'docs/growth' } } });

interface Setting {
  readonly steps: number;
  readonly attached: number;
  readonly batch: number;
  readonly size: number;
}
interface Point {
  readonly x: number;
  readonly seconds: number;
  readonly megabytes: number;
}

const base: Setting = { steps: 10, attached: 5, batch: 1, size: 32 };
const sweeps: Readonly<Record<keyof Setting, readonly number[]>> = { steps: [5, 10, 20, 40], attached: [1, 2, 5, 10], batch: [1, 2, 4, 8], size: [32, 64, 96, 128] };
const titles: Readonly<Record<keyof Setting, string>> = { steps: 'denoising steps', attached: 'attached steps', batch: 'batch', size: 'image size in pixels' };

const measured = Object.entries(sweeps).map(([name, xs]) => ({ name: name as keyof Setting, points: xs.map((x) => measure({ ...base, [name]: x }, x)) }));
for (const { name, points } of measured) {
  console.log(`\n| ${titles[name]} | ${points.map(({ x }) => x).join(' | ')} |\n| --- |${' ---: |'.repeat(points.length)}`);
  console.log(`| seconds | ${points.map(({ seconds }) => seconds.toFixed(2)).join(' | ')} |\n| peak RSS, MB | ${points.map(({ megabytes }) => megabytes.toFixed(0)).join(' | ')} |`);
}
writeFileSync(`${flags.output}.svg`, plot());

function measure({ steps, attached, batch, size }: Setting, x: number): Point {
  const main = fileURLToPath(new URL('main.ts', import.meta.url));
  const numbers = ['--steps', steps, '--attached', Math.min(attached, steps), '--batch', batch, '--size', size, '--runs', 2].map(String);
  const output = execFileSync(process.execPath, [...process.execArgv, main, '--engine', flags.engine, '--row', 'train', ...numbers], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  const row = JSON.parse(output.trim().split('\n').at(-1)!) as Row;
  return { x, seconds: median(row.seconds), megabytes: row.peakResident / 2 ** 20 };
}

/** Two rows of four panels: seconds above, megabytes below. */
function plot(): string {
  const kinds = [['seconds', 'seconds a step', '#2563eb'], ['megabytes', 'peak RSS, MB', '#dc2626']] as const;
  const panels = kinds.flatMap(([key, label, color], row) => measured.map(({ name, points }, column) => panel(points.map((point) => [point.x, point[key]]), `${label} against ${titles[name]}`, color, 20 + column * 250, 20 + row * 190)));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1020 400" font-family="sans-serif" font-size="11"><rect width="1020" height="400" fill="white"/>${panels.join('')}</svg>\n`;
}

function panel(points: readonly (readonly [number, number])[], title: string, color: string, left: number, top: number): string {
  const [width, height] = [200, 120];
  const [maxX, maxY] = [0, 1].map((axis) => Math.max(...points.map((point) => point[axis]!))) as [number, number];
  const at = ([x, y]: readonly [number, number]) => [left + 30 + (x / maxX) * width, top + 20 + height - (y / (1.1 * maxY)) * height] as const;
  const places = points.map(at);
  const dots = places.map(([x, y], i) => `<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="3" fill="${color}"/><text x="${x.toFixed(1)}" y="${(y - 6).toFixed(1)}" text-anchor="middle">${label(points[i]![1])}</text><text x="${x.toFixed(1)}" y="${top + 34 + height}" text-anchor="middle">${points[i]![0]}</text>`);
  return `<text x="${left + 30}" y="${top + 4}">${title}</text><path d="M${left + 30} ${top + 20}v${height}h${width}" fill="none" stroke="#999"/><polyline points="${places.map((place) => place.map((n) => n.toFixed(1)).join()).join(' ')}" fill="none" stroke="${color}" stroke-width="2"/>${dots.join('')}`;
}

const label = (value: number): string => (value < 10 ? value.toFixed(2) : value.toFixed(0));
