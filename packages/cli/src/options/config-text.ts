import { extname } from 'node:path';
import { getNodeValue, type Node } from 'jsonc-parser';
import { isMap, isScalar, LineCounter, parseDocument } from 'yaml';
import { withoutPrototypes } from '@alignprop/autograd-ext/outside';
import { parseJsonTree, positionAt } from './json-text.js';

/** An entry of a configuration file. */
export interface ConfigEntry {
  readonly name: string;
  readonly value: unknown;
  /** Counted from 1. */
  readonly line: number;
}

/**
 * Parses the text of a configuration file: JSON, with comments and trailing commas if you like, or YAML 1.2. The ending
 * of its name decides, else the text: JSON begins with a brace.
 * @throws Error with the line if the text is neither, or has no options by name
 */
export function parseConfigText(path: string, text: string): readonly ConfigEntry[] {
  const kind = extname(path).toLowerCase();
  const isJson = /^\.jsonc?$/.test(kind) || (!/^\.ya?ml$/.test(kind) && /^\s*(\{|\/[/*])/.test(text));
  return isJson ? jsonEntries(text) : yamlEntries(text);
}

const advice = 'Give options by name, as in a config.json that a run has written.';

function jsonEntries(text: string): readonly ConfigEntry[] {
  let root: Node;
  try {
    root = parseJsonTree(text);
  } catch (cause) {
    throw new Error(`is not JSON: ${(cause as Error).message}. ${advice}`, { cause });
  }
  if (root.type !== 'object') throw new Error(`is not a JSON object. ${advice}`);
  return root.children!.map(({ offset, children }) => ({
    name: children![0]!.value as string,
    value: getNodeValue(children![1]!) as unknown,
    line: positionAt(text, offset).line,
  }));
}

function yamlEntries(text: string): readonly ConfigEntry[] {
  const lineCounter = new LineCounter();
  const document = parseDocument(text.replace(/\r\n?/g, '\n'), { lineCounter, prettyErrors: false });
  const lineOf = (offset: number): number => lineCounter.linePos(offset).line;
  const [problem] = [...document.errors, ...document.warnings];
  if (problem) throw new Error(`is not YAML: line ${lineOf(problem.pos[0])}: ${problem.message}. ${advice}`);
  const { contents } = document;
  if (!isMap(contents)) throw new Error(`has no options by name. ${advice}`);
  return contents.items.map(({ key, value }) => {
    if (!isScalar(key)) throw new Error(`has a name that is no text. ${advice}`);
    return { name: String(key.value), value: toValue(value, document), line: lineOf(key.range![0]) };
  });
}

const toValue = (node: unknown, document: ReturnType<typeof parseDocument>): unknown =>
  withoutPrototypes((node as { toJS(document: unknown): unknown } | null)?.toJS(document) ?? null);
