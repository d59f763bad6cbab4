import type { StoredTensor } from '../../params.js';
import { widen } from '../dtypes/dtype.js';
import { describeForeignText, type FileSource } from '../files/file-source.js';
import type { OpenedFile } from '../files/opened-file.js';
import { flattenCheckpoint, type CheckpointValue } from './torch-checkpoint.js';
import type { OpenTorchArchive, StorageBytes } from './torch-archive.js';
import { TorchFileError } from './torch-file-error.js';
import type { TorchTensor } from './torch-globals.js';
import { isPickle, openTorchLegacy } from './torch-legacy.js';
import { gather, viewOf } from './torch-view.js';
import { openTorchZip } from './torch-zip.js';
import { isZip } from './zip-archive.js';

/** An opened torch file: names and shapes are read and checked, the values lie in the file. */
export interface TorchFile {
  /** By dotted path, in the file's order. */
  readonly tensors: Map<string, StoredTensor>;
  /** Numbers and text beside the tensors (`epoch`, `global_step`), by dotted path. */
  readonly metadata: Map<string, CheckpointValue>;
}

/**
 * Opens what `torch.save` wrote (`.pt`, `.pth`, `.bin`, `.ckpt`), as zip archive or in the format before torch 1.6, in
 * pickle protocols 2 to 5. Nothing that the file names is ever called or looked up: a name beyond tensors, storages,
 * dtypes, OrderedDict and a few inert ones refuses the file. Only the pickle is read, of 64 MiB at most; no file stays
 * open.
 *
 * Nested dicts and lists are flattened to dotted paths; `{'state_dict': {'w': …}}` gives `state_dict.w`. Numbers and
 * text become `metadata`; all other values are left out. Parameters are their tensors. A tensor's dtype is in the
 * spelling of safetensors (`F32`, `BF16`, …). Views (shared storages, strides) are resolved when they are read;
 * contiguous tensors of uncompressed storages have a `location`. `read` compares a storage with the archive's checksum
 * at first use: an engine that maps `location` does not.
 * @throws TorchFileError if the file is damaged, not a torch file, or names anything else; `read` throws it for damaged
 *   values
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
      // Tensors that share a storage share its bytes, and with them their check.
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

async function openerOf({ file }: OpenedFile): Promise<OpenTorchArchive> {
  const beginning = await file.read(0, Math.min(BEGINNING, file.size));
  if (isZip(beginning)) return openTorchZip;
  if (isPickle(beginning)) return openTorchLegacy;
  if (!beginning.length)
    throw new TorchFileError('it is empty, expected a zip archive or a pickle.', 'Download it again.');
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
  const isMappable = file.path !== undefined && bytes.offset !== undefined && contiguous;
  return {
    shape: tensor.shape,
    dtype: tensor.dtype,
    ...(isMappable && { location: { file: file.path, offset: bytes.offset + begin, length: end - begin } }),
    read: async () => {
      try {
        const viewed = await bytes.read(begin, end);
        return widened(tensor.dtype, contiguous ? viewed : gather(viewed, tensor));
      } catch (cause) {
        throw explain(cause, `tensor '${name}' of '${file.name}'`);
      }
    },
  };
}

function widened(dtype: string, bytes: Uint8Array): Float32Array | Int32Array {
  try {
    return widen(dtype, bytes);
  } catch (cause) {
    throw new TorchFileError((cause as Error).message, '', { cause });
  }
}

/** The same error with its place, if it is the file's; others (disk, memory) as they are. */
function explain(cause: unknown, place: string): unknown {
  if (!(cause instanceof TorchFileError)) return cause;
  return new TorchFileError(`openTorchFile: ${place} cannot be read: ${cause.message}`, '', { cause });
}
