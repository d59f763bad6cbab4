// The figures of docs/: no text is clipped or covers another, and plots name both axes.
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const docs = fileURLToPath(new URL('../docs/', import.meta.url));
const figures = readdirSync(docs).filter((name) => name.endsWith('.svg'));

interface Label {
  readonly content: string;
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

/** The texts of a figure with the place that they take, for letters of a usual width. */
function labelsOf(svg: string): readonly Label[] {
  const [, common = '16'] = /<svg[^>]* font-size="(\d+)"/.exec(svg) ?? [];
  return [...svg.matchAll(/<text ([^>]*)>([^<]+)<\/text>/g)].map(([, written, content]) => {
    const style = new Map([...written!.matchAll(/([\w-]+)="([^"]*)"/g)].map(([, key, value]) => [key!, value!]));
    const size = Number(style.get('font-size') ?? common);
    const width = content!.length * size * 0.55;
    const anchor = style.get('text-anchor');
    const before = anchor === 'middle' ? width / 2 : anchor === 'end' ? width : 0;
    const [left, bottom] = [Number(style.get('x')) - before, Number(style.get('y'))];
    return { content: content!, left, right: left + width, top: bottom - 0.7 * size, bottom };
  });
}

const doCover = (a: Label, b: Label): boolean =>
  a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;

describe.each(figures)('%s', (name) => {
  const svg = readFileSync(`${docs}${name}`, 'utf8');
  const labels = labelsOf(svg);
  const [width, height] = /viewBox="0 0 (\S+) (\S+)"/.exec(svg)!.slice(1).map(Number) as [number, number];

  it('clips no text', () => {
    expect(labels.length).toBeGreaterThan(4);
    const isOutside = ({ left, right, top, bottom }: Label) => left < 0 || right > width || top < 0 || bottom > height;
    expect(labels.filter(isOutside).map(({ content }) => content)).toEqual([]);
  });

  it('has no text that covers another', () => {
    const pairs = labels.flatMap((a, i) =>
      labels.slice(i + 1).flatMap((b) => (doCover(a, b) ? [[a.content, b.content]] : [])),
    );
    expect(pairs).toEqual([]);
  });

  it('names both axes of each plot', () => {
    const frames = [...svg.matchAll(/<path d="M(\S+) (\S+)v120h200"/g)].map(
      ([, x, y]) => [Number(x), Number(y)] as const,
    );
    expect(frames.length > 0).toBe(/polyline/.test(svg));
    for (const [x, y] of frames) {
      const names = labels.filter(({ content }) => !/^[\d.-]+$/.test(content));
      expect(
        names.some(({ left, bottom }) => left >= x - 30 && left < x + 200 && bottom > y + 140 && bottom < y + 160),
      ).toBe(true);
      expect(names.some(({ left, bottom }) => left >= x - 30 && left < x + 60 && bottom > y - 30 && bottom < y)).toBe(
        true,
      );
    }
  });
});
