import { excerpt } from '../../outside/excerpt.js';
import type { StoredTensor } from '../../params.js';
import { widen } from '../dtypes/dtype.js';
import { describeForeignText, readPieces, type FileSource, type RandomAccessFile } from '../files/file-source.js';
import { reopen, type OpenedFile } from '../files/opened-file.js';
import { headerLength, parseHeader, PREFIX, type TensorInfo } from './safetensors-header.js';

/** The contents of a safetensors file: its header was read and checked, the values are still in the file. */
export interface Safetensors {
  /** The tensors by name, in the order of their data. */
  readonly tensors: Map<string, StoredTensor>;
  readonly metadata: Record<string, string>;
}

/**
 * Opens a safetensors file, checks its header as the reference implementation does and closes the file: a tensor's
 * `read` opens it again. Dtypes are spelled as in the file (`F32`, `BF16`, …).
 * @throws if the file is missing or not a valid safetensors file; `read` throws if the file has changed or an integer
 *   does not fit int32
 */
export async function openSafetensors(source: FileSource, path: string): Promise<Safetensors> {
  const file = await source.open(path);
  try {
    const length = headerLength(await readPrefix(file), file.size);
    const dataStart = PREFIX + length;
    const { tensors, metadata } = parseHeader(await file.read(PREFIX, length), file.size - dataStart);
    const stored = [...tensors].map(
      ([name, info]) => [name, storedTensor({ source, path, file, name, info, dataStart })] as const,
    );
    return { tensors: new Map(stored), metadata: { ...metadata } };
  } catch (cause) {
    throw new Error(
      `openSafetensors: '${file.name}' is not a valid safetensors file: ${await explain(file, cause as Error)}`,
      { cause },
    );
  } finally {
    await file.close();
  }
}

const readPrefix = (file: RandomAccessFile) => file.read(0, Math.min(PREFIX, file.size));

async function explain(file: RandomAccessFile, cause: Error): Promise<string> {
  const beginning = new TextDecoder().decode(await file.read(0, Math.min(512, file.size)));
  return describeForeignText(beginning) ?? `${cause.message} Download it again, or write it again with safetensors.`;
}

interface Stored extends OpenedFile {
  readonly name: string;
  readonly info: TensorInfo;
  readonly dataStart: number;
}

function storedTensor({ name, info, dataStart, ...opened }: Stored): StoredTensor {
  const { file } = opened;
  const offset = dataStart + info.begin;
  const length = info.end - info.begin;
  return {
    shape: info.shape,
    dtype: info.dtype,
    ...(file.path && {
      location: { file: file.path, offset, length },
      scan: (visit: (piece: Uint8Array) => void) => reopen(opened, (again) => readPieces(again, offset, length, visit)),
    }),
    read: async () => {
      const bytes = await reopen(opened, (again) => again.read(offset, length));
      try {
        return widen(info.dtype, bytes);
      } catch (cause) {
        throw new Error(`openSafetensors: tensor '${excerpt(name)}' of '${file.name}': ${(cause as Error).message}`, {
          cause,
        });
      }
    },
  };
}
