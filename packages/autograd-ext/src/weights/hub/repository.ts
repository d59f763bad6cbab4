/** A repository of the hub at one commit. Paths are relative, with `/`. */
export interface Repository {
  has(path: string): boolean | Promise<boolean>;
  /** Returns the names of the files directly in a folder, sorted. */
  list(folder: string): readonly string[] | Promise<readonly string[]>;
  /** Returns the local path of a file, after downloading it if it is not in the cache. */
  fetch(path: string): Promise<string>;
}
