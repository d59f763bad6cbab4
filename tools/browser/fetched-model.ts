import { memory, type FileSource } from '@alignprop/autograd-ext/weights';

/** Fetches the files of the model that `servePage` provides. */
export async function fetchModel(): Promise<FileSource> {
  const paths = (await (await fetch('/model.json')).json()) as string[];
  const contents = await Promise.all(
    paths.map(async (path) => [path, new Uint8Array(await (await fetch(`/model/${path}`)).arrayBuffer())] as const),
  );
  return memory(Object.fromEntries(contents));
}

/** Posts the result of a page, or its error, to `servePage`. */
export async function report(result: Promise<string | Float32Array<ArrayBuffer>>): Promise<void> {
  await result.then(
    (body) => fetch('/result', { method: 'POST', body }),
    (error: unknown) => fetch('/error', { method: 'POST', body: String((error as Error).stack ?? error) }),
  );
}
