import { excerpt, excerptJson, excerptList } from '@alignprop/autograd-ext/outside';
import { UsageError } from '../terminal/errors.js';
import type { PromptEntries, PromptEntry } from './prompt-entries.js';

/** The names of columns that flags have given. 'none' keeps a negative or weight column as metadata. */
export interface ColumnOptions {
  promptColumn?: string;
  negativeColumn?: string;
  weightColumn?: string;
}

/** The columns of a row that are neither prompt, negative prompt nor weight. */
export type PromptMetadata = Readonly<Record<string, unknown>>;

/** Prompts, and what else is known of them: one entry a prompt in each list. */
export interface PromptList {
  readonly prompts: readonly string[];
  /** Undefined where the prompt has none of its own. */
  readonly negativePrompts?: readonly (string | undefined)[];
  readonly promptMetadata?: readonly PromptMetadata[];
  /** How often each is drawn, relative to the others; 0 or more. By default all are drawn equally often. */
  readonly weights?: readonly number[];
}

/** The names of columns that are recognised, in any case; the first that a header has is taken. */
const usualNames = {
  prompt: ['prompt', 'prompts', 'text', 'caption', 'captions'],
  negative: ['negative_prompt', 'negative_prompts', 'negative prompt', 'negative'],
  weight: ['weight', 'weights'],
} as const;

interface Columns {
  readonly prompt: string;
  readonly negative?: string;
  readonly weight?: string;
}

type Row = Readonly<Record<string, unknown>>;

/** Whether a header has a column of prompts. */
export const hasPromptColumn = (header: readonly string[], { promptColumn }: ColumnOptions): boolean =>
  findColumn(header, promptColumn, usualNames.prompt) !== undefined;

/** A list of prompts, and what to tell the user about it. */
export interface ReadPrompts {
  readonly list: PromptList;
  readonly remarks: readonly string[];
  readonly warnings: readonly string[];
}

/**
 * Takes prompts, negative prompts, weights and metadata from the columns of entries. Entries that are texts are prompts
 * without columns. Entries with an empty prompt, or null, are left out, and a warning says how many.
 * @throws UsageError with the position of the first wrong entry, if a column is missing, or if there is no prompt
 */
export function takeColumns(source: PromptEntries, flag: string, options: ColumnOptions): ReadPrompts {
  const refuse = (what: string): never => {
    throw new UsageError(`${flag}: ${source.source} ${excerpt(what, 600)}`);
  };
  const first = source.entries.find(({ value }) => isRow(value))?.value as Row | undefined;
  const columns = first && chooseColumns(Object.keys(first), options, refuse);
  const rows = source.entries.map((entry) => readRow(entry, source.unit, columns, refuse));
  const filled = rows.filter(({ prompt }) => prompt !== '');
  if (filled.length === 0) refuse('has no prompt, expected at least one.');
  const list = {
    prompts: filled.map(({ prompt }) => prompt),
    ...(columns?.negative !== undefined && { negativePrompts: filled.map(({ negative }) => negative) }),
    ...(columns?.weight !== undefined && { weights: filled.map(({ weight }) => weight) }),
    ...(columns && { promptMetadata: filled.map(({ metadata }) => metadata) }),
  };
  if (list.weights && !(list.weights.reduce((sum, weight) => sum + weight, 0) > 0))
    refuse(`has no weight above 0 in column '${columns!.weight}'. Give one.`);
  return { list, remarks: remarksOf(source, list, columns, first), warnings: warningsOf(source, rows, flag) };
}

function warningsOf(
  { source, unit, entries, doubts = [] }: PromptEntries,
  rows: readonly ReadRow[],
  flag: string,
): readonly string[] {
  const warnings = doubts.map((doubt) => `${flag}: ${source} ${doubt}.`);
  const first = rows.findIndex(({ prompt }) => prompt === '');
  if (first < 0) return warnings;
  const count = rows.filter(({ prompt }) => prompt === '').length;
  const where = `the first in ${unit} ${entries[first]!.position}`;
  return [
    ...warnings,
    `${flag}: ${source} has ${count} of ${rows.length} prompts empty, which are left out; ${where}.`,
  ];
}

const isRow = (value: unknown): value is Row => typeof value === 'object' && value !== null && !Array.isArray(value);

function chooseColumns(
  header: readonly string[],
  { promptColumn, negativeColumn, weightColumn }: ColumnOptions,
  refuse: (what: string) => never,
): Columns {
  const find = (kind: keyof typeof usualNames, wanted: string | undefined): string | undefined => {
    if (wanted === 'none' && kind !== 'prompt') return undefined;
    const column = findColumn(header, wanted, usualNames[kind]);
    if (column === undefined && (wanted !== undefined || kind === 'prompt')) {
      const missing = wanted === undefined ? usualNames.prompt.join(', ') : `'${wanted}'`;
      refuse(
        `has no column ${missing}; its columns are ${excerptList(header, 12)}. Give --${kind}-column with one of them.`,
      );
    }
    return column;
  };
  return {
    prompt: find('prompt', promptColumn)!,
    negative: find('negative', negativeColumn),
    weight: find('weight', weightColumn),
  };
}

/** Returns the column that was asked for, or else the first of the usual names that the header has, in any case. */
function findColumn(
  header: readonly string[],
  wanted: string | undefined,
  usual: readonly string[],
): string | undefined {
  for (const name of wanted === undefined ? usual : [wanted]) {
    const found =
      header.find((column) => column === name) ??
      header.find((column) => column.trim().toLowerCase() === name.toLowerCase());
    if (found !== undefined) return found;
  }
  return undefined;
}

interface ReadRow {
  readonly prompt: string;
  readonly negative?: string;
  readonly weight: number;
  readonly metadata: PromptMetadata;
}

const noMetadata: PromptMetadata = Object.freeze({});

function readRow(
  { value, position }: PromptEntry,
  unit: string,
  columns: Columns | undefined,
  refuse: (what: string) => never,
): ReadRow {
  if (typeof value === 'string') return { prompt: value.trim(), weight: 1, metadata: noMetadata };
  const at = `in ${unit} ${position}`;
  if (!isRow(value) || !columns) return refuse(`has ${shown(value)} ${at}, expected a text or an object.`);
  const { prompt, negative, weight } = columns;
  const metadata = Object.entries(value).filter(([name]) => ![prompt, negative, weight].includes(name));
  return {
    prompt: readText(value, prompt, at, refuse) ?? '',
    ...(negative !== undefined && { negative: readText(value, negative, at, refuse, true) || undefined }),
    weight: weight === undefined ? 1 : readWeight(value, weight, at, refuse),
    metadata: Object.fromEntries(metadata),
  };
}

/** Returns the text of a column; undefined for null, and for a missing column that may be missing. */
function readText(
  row: Row,
  column: string,
  at: string,
  refuse: (what: string) => never,
  isOptional = false,
): string | undefined {
  const value = row[column];
  if (typeof value === 'string') return value.trim();
  if (value === null || (isOptional && value === undefined)) return undefined;
  return refuse(`has ${shown(value)} as '${column}' ${at}, expected a text.`);
}

function readWeight(row: Row, column: string, at: string, refuse: (what: string) => never): number {
  const value = row[column];
  const weight = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  if (typeof weight === 'number' && Number.isFinite(weight) && weight >= 0) return weight;
  return refuse(
    `has ${shown(value)} as '${column}' ${at}, expected a number of at least 0. ` +
      'Give --weight-column none if it is not how often the prompt is drawn.',
  );
}

const shown = (value: unknown): string => (value === undefined ? 'nothing' : excerptJson(value, 60));

/** Says which columns were taken for what, and how many lines were skipped. */
function remarksOf(
  { source, comments = 0 }: PromptEntries,
  list: PromptList,
  columns: Columns | undefined,
  first: Row | undefined,
): readonly string[] {
  const lines = comments === 1 ? '1 line that starts' : `${comments} lines that start`;
  const skipped = comments > 0 ? [`${source}: skipped ${lines} with #.`] : [];
  if (!columns || !first) return skipped;
  const { prompt, negative, weight } = columns;
  const others = Object.keys(first).filter((name) => ![prompt, negative, weight].includes(name));
  const parts = [
    `${list.prompts.length} prompts in column '${prompt}'`,
    ...(negative === undefined ? [] : [`negative prompts in '${negative}'`]),
    ...(weight === undefined ? [] : [`weights in '${weight}'`]),
    ...(others.length === 0 ? [] : [`metadata for the reward in ${excerptList(others.map((name) => `'${name}'`))}`]),
  ];
  return [...skipped, `${source}: ${parts.join('; ')}.`];
}
