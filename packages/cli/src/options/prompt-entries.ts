import { extname } from 'node:path';
import Papa from 'papaparse';
import { excerpt, excerptJson, excerptList, parseJson, record, table } from '@alignprop/autograd-ext/outside';
import { UsageError } from '../terminal/errors.js';
import { parseJsonText, positionAt } from './json-text.js';

/** A prompt as a file has it: a text, or the columns of a row. */
export interface PromptEntry {
  readonly value: unknown;
  /** Its line, or its place in a JSON array; counted from 1. */
  readonly position: number;
}

/** The entries of a source of prompts. */
export interface PromptEntries {
  /** Names the source in messages: the path of the file, in quotes. */
  readonly source: string;
  readonly unit: 'line' | 'entry';
  readonly entries: readonly PromptEntry[];
  /** How many lines were skipped as comments. */
  readonly comments?: number;
  /** Says what lines may have been meant as something else. */
  readonly doubts?: readonly string[];
}

/** Chooses the delimiter of a table by its header. */
export type HasPrompts = (header: readonly string[]) => boolean;

type Parsed = Omit<PromptEntries, 'source'>;
type Reader = (text: string, hasPrompts: HasPrompts) => Parsed;

/** Reads a kind of file by the ending of its name. A file with another ending is read as .txt. */
const readers = table<Reader>({
  '.jsonl': readJsonLines,
  '.ndjson': readJsonLines,
  '.json': readJson,
  '.csv': (text, hasPrompts) => readTable(text, [',', ';', '\t'], hasPrompts),
  '.tsv': (text, hasPrompts) => readTable(text, ['\t', ',', ';'], hasPrompts),
});

const otherKinds = /^\.(parquet|arrow|feather|xlsx?|ods|pkl|gz|zip|zst|bz2|xz|tar|npy|npz|html?|ya?ml|toml|db|sqlite)$/;

/**
 * Refuses a file of prompts by the ending of its name, before it is read.
 * @throws UsageError for data sets in formats that are not read, such as .parquet
 */
export function checkKind(path: string, flag: string): void {
  if (!otherKinds.test(extname(path).toLowerCase())) return;
  throw new UsageError(
    `${flag}: got '${path}', expected a .txt, .jsonl, .json, .csv or .tsv file. Export it as one of these.`,
  );
}

/**
 * Splits the text of a file of prompts into entries, by the ending of its name.
 * @throws UsageError with the line if the text is not of that kind
 */
export function parseEntries(path: string, text: string, flag: string, hasPrompts: HasPrompts): PromptEntries {
  const read = readers[extname(path).toLowerCase()] ?? readLines;
  try {
    return { source: `'${path}'`, ...read(text, hasPrompts) };
  } catch (cause) {
    throw new UsageError(`${flag}: '${path}' ${excerpt((cause as Error).message, 600)}`, { cause });
  }
}

// JSON may have U+2028 and U+2029 in its strings, so that lines of JSON end with CR and LF alone.
const jsonLineEnd = /\r\n|\r|\n/;
const textLineEnd = /\r\n|[\r\n\u2028\u2029]/;

/** One prompt a line; lines that start with # are comments. */
function readLines(text: string, hasPrompts: HasPrompts): Parsed {
  const lines = text.split(textLineEnd).map((line) => line.trim());
  const entries = lines.map((value, i) => ({ value, position: i + 1 })).filter(({ value }) => value !== '');
  const prompts = entries.filter(({ value }) => !value.startsWith('#'));
  const [first] = prompts;
  if (first && isJsonObject(first.value))
    throw new Error(`has a JSON object in line ${first.position}, expected prompts. Give the file the ending .jsonl.`);
  const doubts = [...headerDoubts(first, hasPrompts), ...optionDoubts(prompts)];
  return { unit: 'line', entries: prompts, comments: entries.length - prompts.length, doubts };
}

function isJsonObject(text: string): boolean {
  try {
    return text.startsWith('{') && typeof parseJson(text) === 'object';
  } catch {
    return false;
  }
}

interface Line {
  readonly value: string;
  readonly position: number;
}

function headerDoubts(first: Line | undefined, hasPrompts: HasPrompts): readonly string[] {
  const names = first?.value.split(/[,;\t]/) ?? [];
  if (names.length < 2 || !names.every((name) => /^\w+$/.test(name)) || !hasPrompts(names)) return [];
  return [
    `has what may be the header of a table in line ${first!.position}. For columns give it the ending .csv or .tsv`,
  ];
}

/** Finds the options that kohya's scripts read from lines of prompts, such as --n for a negative prompt. */
function optionDoubts(prompts: readonly Line[]): readonly string[] {
  const first = prompts.find(({ value }) => / --[nwhdslg] \S/.test(value));
  if (!first) return [];
  const [option] = / --[nwhdslg] /.exec(first.value)!;
  return [
    `has${option}in line ${first.position}, which is part of the prompt here. ` +
      'Negative prompts are a column of a .csv or .jsonl file',
  ];
}

/** One JSON value a line. */
function readJsonLines(text: string): Parsed {
  const entries: PromptEntry[] = [];
  for (const [i, line] of text.split(jsonLineEnd).entries()) {
    if (line.trim() !== '') entries.push({ value: jsonLine(line, i + 1), position: i + 1 });
  }
  return { unit: 'line', entries };
}

function jsonLine(line: string, position: number): unknown {
  try {
    return parseJson(line) as unknown;
  } catch (cause) {
    const start = JSON.stringify(line.trim().slice(0, 40));
    throw new Error(`line ${position} is not JSON: ${start}. Expected one object or text in quotes a line.`, { cause });
  }
}

/** An array, or as data sets have it under this name too, one JSON value a line. */
function readJson(text: string): Parsed {
  if (text.trim() === '') return { unit: 'entry', entries: [] };
  if (startsWithWholeLine(text)) return readJsonLines(text);
  const value = parseWhole(text);
  if (Array.isArray(value)) return { unit: 'entry', entries: arrayEntries(value) };
  const keys = typeof value === 'object' && value !== null ? ` with ${excerptList(Object.keys(value), 5)}` : '';
  const found = keys ? `an object${keys}` : excerptJson(value);
  throw new Error(`has ${found}, expected an array of texts or of objects. Move the array to the top.`);
}

function parseWhole(text: string): unknown {
  try {
    return parseJsonText(text);
  } catch (cause) {
    throw new Error(`is not JSON: ${(cause as Error).message}.`, { cause });
  }
}

/** Returns the entries of an array of prompts. */
export const arrayEntries = (values: readonly unknown[]): readonly PromptEntry[] =>
  values.map((value, i) => ({ value, position: i + 1 }));

/** Whether the first of several lines is a JSON object or text by itself, as in a file of JSON lines. */
function startsWithWholeLine(text: string): boolean {
  const [first = '', second] = text.trim().split(jsonLineEnd, 2);
  if (second === undefined && !first.startsWith('{')) return false;
  try {
    return !Array.isArray(parseJson(first));
  } catch {
    return false;
  }
}

/** A header, and then a row of fields a line; fields in double quotes may have delimiters and line ends. */
function readTable(written: string, delimiters: readonly string[], hasPrompts: HasPrompts): Parsed {
  const text = written.replace(/\r\n?/g, '\n');
  const firstRow = text.replace(/^\s*\n/, '');
  const headerOf = (delimiter: string): readonly string[] =>
    Papa.parse<string[]>(firstRow, { delimiter, newline: '\n', preview: 1 }).data[0] ?? [];
  const delimiter =
    delimiters.find((candidate) => hasPrompts(headerOf(candidate))) ??
    delimiters.find((candidate) => headerOf(candidate).length > 1) ??
    delimiters[0]!;
  const [header, ...rows] = tableRows(text, delimiter);
  const columns = columnNames(header?.fields ?? []);
  const entries = rows.map(({ fields, line }) => {
    if (fields.length !== columns.length) throw new Error(wrongCount(fields.length, columns.length, line));
    return { value: record(columns.map((column, i) => [column, fields[i]])), position: line };
  });
  return { unit: 'line', entries };
}

interface TableRow {
  readonly fields: readonly string[];
  /** The line in which the row begins. */
  readonly line: number;
}

/** Returns the rows that are not empty. */
function tableRows(text: string, delimiter: string): TableRow[] {
  const { data, errors } = Papa.parse<string[]>(text, { delimiter, newline: '\n' });
  const [error] = errors;
  if (error) {
    const { line } = positionAt(text, error.index ?? 0);
    const found = error.code === 'InvalidQuotes' ? 'text after a closing quote' : 'an open double quote';
    throw new Error(`has ${found} in line ${line}, expected quotes to enclose a field, and "" for a quote in it.`);
  }
  const rows: TableRow[] = [];
  let line = 1;
  for (const fields of data) {
    if (fields.length > 1 || fields[0]!.trim() !== '') rows.push({ fields, line });
    line += 1 + fields.reduce((sum, field) => sum + (field.includes('\n') ? field.split('\n').length - 1 : 0), 0);
  }
  return rows;
}

const wrongCount = (got: number, expected: number, line: number): string =>
  `has ${got} fields in line ${line}, expected ${expected} as in the header. ` +
  'Put fields that have the delimiter in double quotes.';

/** Names columns without a name by their place, as the index that pandas writes; refuses a name given twice. */
function columnNames(header: readonly string[]): readonly string[] {
  const names = header.map((name, i) => name.trim() || `column_${i + 1}`);
  const twice = names.find((name, i) => names.indexOf(name) < i);
  if (twice !== undefined) throw new Error(`has the column '${twice}' twice. Rename one.`);
  return names;
}
