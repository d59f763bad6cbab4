// Paths of files in a `FileSource`: relative, with `/`.

/** Joins and normalises paths. `..` cannot leave the source. */
export function joinPath(...parts: string[]): string {
  const names: string[] = [];
  for (const name of parts.flatMap((path) => path.split('/'))) {
    if (name === '..') names.pop();
    else if (name && name !== '.') names.push(name);
  }
  return names.join('/');
}

/** Returns the names of the paths that lie directly in a folder, sorted. */
export function filesIn(paths: Iterable<string>, folder: string): string[] {
  const prefix = joinPath(folder) && `${joinPath(folder)}/`;
  return [...paths]
    .filter((path) => path.startsWith(prefix) && !path.slice(prefix.length).includes('/'))
    .map((path) => path.slice(prefix.length))
    .sort();
}
