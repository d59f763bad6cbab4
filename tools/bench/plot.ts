/** One line of a panel. */
export interface Series {
  readonly points: readonly (readonly [x: number, y: number])[];
  readonly color: string;
  /** Name in the legend below the panels, once for all series of that name. */
  readonly name?: string;
  /** As SVG's `stroke-dasharray`. */
  readonly dash?: string;
}

/** One pair of axes. `labelled` writes its numbers at each point, which suits a single short series. */
export interface Panel {
  readonly title?: string;
  /** The names of the axes, with their units. */
  readonly axes: readonly [horizontal: string, vertical: string];
  readonly series: readonly Series[];
  readonly labelled?: boolean;
  /** Ends of the vertical axis; by default from 0, or the smallest value if it is below, to 10 % above the largest. */
  readonly range?: readonly [number, number];
}

const size = { width: 200, height: 120 };
const cell = { width: 250, height: 220 };
const margin = 20;

/** Draws rows of panels as an SVG file. */
export function plot(rows: readonly (readonly Panel[])[]): string {
  const names = new Map(
    rows
      .flat(2)
      .flatMap(({ series }) => series)
      .flatMap(({ name, color, dash }) => (name === undefined ? [] : [[name, { color, dash }] as const])),
  );
  const width = Math.max(...rows.map((row) => row.length)) * cell.width + margin;
  const perRow = legendColumns([...names.keys()], width - 2 * margin);
  const legendHeight = Math.ceil(names.size / perRow) * margin;
  const height = rows.length * cell.height + margin + legendHeight;
  const panels = rows.flatMap((row, y) =>
    row.map((panel, x) => draw(panel, margin + x * cell.width, margin + y * cell.height)),
  );
  const legend = [...names].map(([name, { color, dash }], i) => {
    const left = margin + 30 + ((i % perRow) * (width - 2 * margin)) / Math.min(perRow, names.size);
    const y = height - legendHeight + 6 + Math.floor(i / perRow) * margin;
    const mark = line(
      [
        [left, y],
        [left + 20, y],
      ],
      color,
      dash,
    );
    return `${mark}<text x="${left + 26}" y="${y + 4}">${name}</text>`;
  });
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" ` +
    `font-size="11"><rect width="${width}" height="${height}" fill="white"/>` +
    `${panels.join('')}${legend.join('')}</svg>\n`
  );
}

/** The number of names of a legend that fit beside each other. */
function legendColumns(names: readonly string[], width: number): number {
  const longest = Math.max(1, ...names.map((name) => name.length));
  return Math.max(1, Math.floor(width / (longest * 6 + 36)));
}

function draw({ title = '', axes, series, labelled = false, range }: Panel, left: number, top: number): string {
  const points = series.flatMap((one) => one.points);
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  const maxX = Math.max(...xs);
  const [low, high] = range ?? [Math.min(0, ...ys), 1.1 * Math.max(0, ...ys) || 1];
  const [x0, y0] = [left + 30, top + 36 + size.height];
  const at = ([x, y]: readonly [number, number]) =>
    [x0 + (x / maxX) * size.width, y0 - ((y - low) / (high - low)) * size.height] as const;
  const lines = series.map(({ points: data, color, dash }) => {
    const places = data.map(at);
    const dots = places.map(
      ([x, y]) => `<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="${labelled ? 3 : 2}" fill="${color}"/>`,
    );
    const numbers = labelled ? numbersAt(places, data) : '';
    return line(places, color, dash) + dots.join('') + numbers;
  });
  const marks = labelled ? [...new Set(xs)] : [0, maxX / 2, maxX];
  const ticks = marks.map((x) => text(label(x), at([x, low])[0], y0 + 14)).join('');
  const ends = labelled ? '' : [low, high].map((y) => text(label(y), x0 - 4, at([0, y])[1] + 4, 'end')).join('');
  const frame = `<path d="M${x0} ${y0 - size.height}v${size.height}h${size.width}" fill="none" stroke="#999"/>`;
  const heading = title && `<g font-weight="bold">${text(title, x0, top, 'start')}</g>`;
  const names = text(axes[0], x0 + size.width / 2, y0 + 30) + text(axes[1], x0 - 20, y0 - size.height - 16, 'start');
  return heading + names + frame + lines.join('') + ticks + ends;
}

/** Writes the numbers of a series above its points, and below where they would cover that of the point before. */
function numbersAt(places: readonly (readonly [number, number])[], data: Series['points']): string {
  let before = { right: -Infinity, y: 0 };
  return places
    .map(([x, y], i) => {
      const number = label(data[i]![1]);
      const half = number.length * 3.5;
      const covers = x - half < before.right && Math.abs(y - 6 - before.y) < 12;
      before = { right: x + half, y: covers ? y + 15 : y - 6 };
      return text(number, x, before.y);
    })
    .join('');
}

function line(places: readonly (readonly [number, number])[], color: string, dash?: string): string {
  const points = places.map((place) => place.map((n) => n.toFixed(1)).join()).join(' ');
  const pattern = dash ? ` stroke-dasharray="${dash}"` : '';
  return `<polyline points="${points}" fill="none" stroke="${color}" stroke-width="2"${pattern}/>`;
}

const text = (content: string, x: number, y: number, anchor = 'middle'): string =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}">${content}</text>`;

const label = (value: number): string =>
  Number.isInteger(value) || Math.abs(value) >= 10 ? value.toFixed(0) : value.toFixed(2);
