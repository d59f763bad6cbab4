/** One measurement: seconds of each run, bytes of memory. */
export interface Row {
  readonly label: string;
  /** Seconds of the warm-up run, which loads the weights. */
  readonly first: number;
  readonly seconds: readonly number[];
  /**
   * Peak resident set size of the process, without the one in which an engine runs large models; pages mapped twice
   * count twice.
   */
  readonly peakResident: number;
  /** Size of the engine's heap, which never shrinks. */
  readonly heap: number | undefined;
  /** Bytes of the tensors alive at the end: the weights. */
  readonly tensors: number;
}

export interface WatchedRow extends Row {
  /**
   * Peak proportional set size, which counts pages mapped twice once; undefined where the system does not report it.
   */
  readonly peakInUse: number | undefined;
}

/** Formats median, range and memory of each row in aligned columns. */
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

/** Returns the middle value, or the mean of the two middle ones of an even number of values. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle)]!) / 2;
}

const megabytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(0);
