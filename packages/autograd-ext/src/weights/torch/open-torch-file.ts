import type { StoredTensor } from '../../params.js';
import { widen } from '../dtypes/dtype.js';
import { describeForeignText, type FileSource } from '../files/file-source.js';
import type { OpenedFile } from '../files/opened-file.js';
import type { OpenTorchArchive, StorageBytes } from './torch-archive.js';
import { flattenCheckpoint, type CheckpointValue } from './torch-checkpoint.js';
import { ADVICE, TorchFileError } from './torch-file-error.js';
import { isPickle, openTorchLegacy } from './torch-legacy.js';
import type { TorchTensor } from './torch-tensor.js';
import { gather, viewOf } from './torch-view.js';
import { openTorchZip } from './torch-zip.js';
import { isZip } from './zip-archive.js';

/** The contents of a torch file: names and shapes were read and checked, the values are still in the file. */
export interface TorchFile {
  /** The tensors by dotted path, in the order of the file. */
  readonly tensors: Map<string, StoredTensor>;
  /** Numbers, text and booleans (`epoch`, `global_step`) by dotted path. */
  readonly metadata: Map<string, CheckpointValue>;
}

/**
 * Opens a file of `torch.save` (`.pt`, `.pth`, `.bin`, `.ckpt`): a zip archive or the format before torch 1.6, in
 * pickle protocols 2 to 5. No class or function that the file names is called or looked up: a file with other names
 * than tensors, storages, dtypes, OrderedDict and a few that are ignored is refused. Reads the pickle only, at most
 * 64 MiB, and closes the file.
 *
 * Nested dicts and lists are flattened to dotted paths: `{'state_dict': {'w': …}}` gives `state_dict.w`. Numbers, text
 * and booleans become `metadata`; all other values are left out. A parameter gives its tensor. Dtypes are spelled as in
 * safetensors (`F32`, `BF16`, …). Views (shared storages, strides) are gathered when they are read; contiguous tensors
 * of uncompressed storages have a `location`. The first `read` or `scan` of a storage compares its checksum with the
 * archive's.
 * @throws TorchFileError if the file is damaged, not a torch file, or contains another name; `read` throws it for
 *   damaged values
 */
export async function openTorchFile(source: FileSource, path: string): Promise<TorchFile> {
  const file = await source.open(path);
  const opened = { source, path, file };
  try {
    const archive = await (await openerOf(opened))(opened);
    const { tensors, metadata } = flattenCheckpoint(archive.value);
    const stored = new Map<string, StoredTensor>();
    const storages = new Map<string, StorageBytes>();
    for (const [name, tensor] of tensors) {
      // Tensors that share a storage share its bytes, whose checksum is then computed once.
      const bytes = storages.get(tensor.storage.key) ?? (await archive.locate(tensor.storage));
      storages.set(tensor.storage.key, bytes);
      stored.set(name, storedTensor(opened, name, tensor, bytes));
    }
    return { tensors: stored, metadata };
  } catch (cause) {
    throw explain(cause, `'${file.name}'`);
  } finally {
    await file.close();
  }
}

const BEGINNING = 512;

/** Chooses the format by the first bytes of the file. */
async function openerOf({ file }: OpenedFile): Promise<OpenTorchArchive> {
  const beginning = await file.read(0, Math.min(BEGINNING, file.size));
  if (isZip(beginning)) return openTorchZip;
  if (isPickle(beginning)) return openTorchLegacy;
  if (!beginning.length) throw new TorchFileError('it is empty, expected a zip archive or a pickle.', ADVICE.download);
  const hex = Array.from(beginning.subarray(0, 8), (byte) => byte.toString(16).padStart(2, '0')).join(' ');
  const advice =
    describeForeignText(new TextDecoder().decode(beginning)) ?? 'Check that it is a torch file, and complete.';
  throw new TorchFileError(
    `it got the first bytes ${hex}, expected those of a zip archive (50 4b 03 04) or a pickle (80).`,
    advice,
  );
}

function storedTensor(opened: OpenedFile, name: string, tensor: TorchTensor, bytes: StorageBytes): StoredTensor {
  const { begin, end, contiguous } = viewOf(name, tensor, bytes);
  const { file } = opened;
  const range = contiguous ? bytes.range : undefined;
  const explained = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (cause) {
      throw explain(cause, `tensor '${name}' of '${file.name}'`);
    }
  };
  return {
    shape: tensor.shape,
    dtype: tensor.dtype,
    ...(file.path !== undefined &&
      range && {
        location: { file: file.path, offset: range.offset + begin, length: end - begin },
        scan: (visit: (piece: Uint8Array) => void) => explained(() => range.scan(begin, end, visit)),
      }),
    read: () =>
      explained(async () => {
        const viewed = await bytes.read(begin, end);
        return widenOrRefuse(tensor.dtype, contiguous ? viewed : gather(viewed, tensor));
      }),
  };
}

function widenOrRefuse(dtype: string, bytes: Uint8Array): Float32Array | Int32Array {
  try {
    return widen(dtype, bytes);
  } catch (cause) {
    throw new TorchFileError((cause as Error).message, '', { cause });
  }
}

/** Adds the file or tensor to a TorchFileError; returns any other error (disk, memory) as it is. */
function explain(cause: unknown, subject: string): unknown {
  if (!(cause instanceof TorchFileError)) return cause;
  return new TorchFileError(`openTorchFile: ${subject} cannot be read: ${cause.message}`, '', { cause });
}
