/** One measurement: seconds a run, bytes of memory. */
export interface Row {
  readonly label: string;
  /** The run that loads the weights. */
  readonly first: number;
  readonly seconds: readonly number[];
  /** Highest resident size of the process, in which pages that it maps twice count twice. */
  readonly peakResident: number;
  /** The engine's own heap, which only grows. */
  readonly heap: number | undefined;
  /** Tensors alive at the end: the weights. */
  readonly tensors: number;
}

export interface WatchedRow extends Row {
  /** The most that was in use, pages that are mapped twice counted once; where the system says so. */
  readonly peakInUse: number | undefined;
}

/** Lines of equally wide columns: median, range and memory of each row. */
export function formatTable(rows: readonly WatchedRow[]): string {
  const cells = [
    ['', 'median s', 'min', 'max', 'first', 'peak RSS MB', 'peak in use MB', 'engine heap MB', 'weights MB'],
    ...rows.map(({ label, first, seconds, peakResident, peakInUse, heap, tensors }) => [
      label,
      ...[median(seconds), Math.min(...seconds), Math.max(...seconds), first].map((value) => value.toFixed(3)),
      megabytes(peakResident),
      peakInUse === undefined ? '-' : megabytes(peakInUse),
      heap === undefined ? '-' : megabytes(heap),
      megabytes(tensors),
    ]),
  ];
  const widths = cells[0]!.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)));
  return cells
    .map((row) => row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  '))
    .join('\n');
}

/** The middle value; the mean of the two middle ones when there is an even number. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle)]!) / 2;
}

const megabytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(0);
