import { memory, type FileSource } from '@alignprop/autograd-ext/weights';

/** The files of the folder that `servePage` provides, fetched when they are opened. */
export async function fetchModel(): Promise<FileSource> {
  const paths = (await (await fetch('/model.json')).json()) as string[];
  const names = memory(Object.fromEntries(paths.map((path) => [path, new Uint8Array()])));
  return {
    location: '/model',
    has: (path) => names.has(path),
    list: (folder) => names.list(folder),
    open: async (path) => {
      const response = await fetch(`/model/${path}`);
      return memory({ [path]: new Uint8Array(await response.arrayBuffer()) }).open(path);
    },
  };
}

/** Posts the result of a page, or its error, to `servePage`. */
export async function report(result: Promise<string | Float32Array<ArrayBuffer>>): Promise<void> {
  await result.then(
    (body) => fetch('/result', { method: 'POST', body }),
    (error: unknown) => fetch('/error', { method: 'POST', body: String((error as Error).stack ?? error) }),
  );
}
