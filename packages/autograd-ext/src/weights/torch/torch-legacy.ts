import { readPieces, type RandomAccessFile } from '../files/file-source.js';
import { reopen, type OpenedFile } from '../files/opened-file.js';
import { PickleCutOff } from './pickle-reader.js';
import { unpickle, type PickleMeaning } from './pickle.js';
import { checkStorageSize, MAX_PICKLE, type TorchArchive } from './torch-archive.js';
import { ADVICE, TorchFileError } from './torch-file-error.js';
import { torchMeaning } from './torch-globals.js';
import { storageSize, type TorchStorage } from './torch-tensor.js';

const MAGIC = 0x1950a86a20f9469cfc6cn;
const PROTOCOL = 1001;
// The bytes of the first read, and the factor by which a read grows when the pickles turn out to be longer.
const FIRST_READ = 2 ** 20;
const GROWTH = 4;
const COUNT_SIZE = 8;

/** Whether a file starts as a pickle of protocol 2 or later does. */
export const isPickle = (beginning: Uint8Array): boolean => beginning[0] === 0x80;

/**
 * Opens a file in the format before torch 1.6: pickles of a magic number, a version, the machine, the value and the
 * keys of the storages, then the length and the numbers of each storage.
 */
export async function openTorchLegacy(opened: OpenedFile): Promise<TorchArchive> {
  const { file } = opened;
  const { value, storages, keys, end } = await readPickles(file);
  const offsets = await findStorages(file, end, keys, storages);
  return {
    value,
    locate: (storage) => {
      const offset = offsets.get(storage.key);
      if (offset === undefined)
        throw new TorchFileError(`storage '${storage.key}' is not in the file's list of storages.`);
      const size = storageSize(storages.get(storage.key)!);
      checkStorageSize(storage, size);
      return {
        size,
        read: (begin, to) => reopen(opened, (again) => again.read(offset + begin, to - begin)),
        range: {
          offset,
          scan: (begin, to, visit) => reopen(opened, (again) => readPieces(again, offset + begin, to - begin, visit)),
        },
      };
    },
  };
}

interface Pickles {
  readonly value: unknown;
  /** The storages of the value's tensors, by key. */
  readonly storages: ReadonlyMap<string, TorchStorage>;
  /** The keys of the storages, in the order of their data. */
  readonly keys: readonly string[];
  /** The position of the byte after the last pickle. */
  readonly end: number;
}

async function readPickles(file: RandomAccessFile): Promise<Pickles> {
  for (let length = FIRST_READ; ; length *= GROWTH) {
    const bytes = await file.read(0, Math.min(length, file.size, MAX_PICKLE));
    try {
      return parsePickles(bytes);
    } catch (cause) {
      if (!(cause instanceof PickleCutOff) || bytes.length === file.size) throw cause;
      if (bytes.length === MAX_PICKLE)
        throw new TorchFileError(`the pickles got more than ${MAX_PICKLE} bytes, expected less.`, undefined, { cause });
    }
  }
}

function parsePickles(bytes: Uint8Array): Pickles {
  const storages = new Map<string, TorchStorage>();
  const meaning: PickleMeaning = {
    ...torchMeaning,
    persistent: (id) => {
      const storage = torchMeaning.persistent(id) as TorchStorage;
      storages.set(storage.key, storage);
      return storage;
    },
  };
  let end = 0;
  const next = () => {
    const pickle = unpickle(bytes, end, meaning);
    end = pickle.end;
    return pickle.value;
  };
  checkMagic(next());
  checkVersion(next());
  checkMachine(next());
  const value = next();
  const keys = next();
  if (!isTexts(keys))
    throw new TorchFileError("the fifth pickle got other values, expected a list of the storages' keys.");
  return { value, storages, keys, end };
}

function checkMagic(magic: unknown): void {
  if (magic === MAGIC) return;
  const isNumber = typeof magic === 'bigint' || typeof magic === 'number';
  throw new TorchFileError(
    `the magic number got ${isNumber ? `0x${magic.toString(16)}` : 'something else'}, ` +
      `expected 0x${MAGIC.toString(16)}: the file is a pickle, but not torch's.`,
    ADVICE.checkFile,
  );
}

function checkVersion(version: unknown): void {
  if (version !== PROTOCOL)
    throw new TorchFileError(
      `the format's version got ${typeof version === 'number' ? version : 'no number'}, expected ${PROTOCOL}.`,
      'Save the file again with a newer torch.',
    );
}

function checkMachine(machine: unknown): void {
  if (!(machine instanceof Map) || machine.get('little_endian') !== true)
    throw new TorchFileError('the byte order got other than little-endian.', ADVICE.saveLittleEndian);
}

/** Returns the position of the numbers of each storage, by key. */
async function findStorages(
  file: RandomAccessFile,
  start: number,
  keys: readonly string[],
  storages: ReadonlyMap<string, TorchStorage>,
): Promise<Map<string, number>> {
  const offsets = new Map<string, number>();
  let at = start;
  for (const key of keys) {
    const storage = storages.get(key);
    if (!storage || offsets.has(key))
      throw new TorchFileError(
        `the list of storages contains '${key.slice(0, 40)}' twice, or no tensor has that storage.`,
      );
    if (at + COUNT_SIZE + storageSize(storage) > file.size)
      throw new TorchFileError(
        `storage '${key}' got ${Math.max(0, file.size - at - COUNT_SIZE)} bytes, ` +
          `expected ${storageSize(storage)}: the file was cut off.`,
        ADVICE.download,
      );
    const count = await readCount(file, at);
    if (count !== BigInt(storage.length))
      throw new TorchFileError(`storage '${key}' got ${count} elements, expected ${storage.length}.`);
    offsets.set(key, at + COUNT_SIZE);
    at += COUNT_SIZE + storageSize(storage);
  }
  return offsets;
}

async function readCount(file: RandomAccessFile, at: number): Promise<bigint> {
  const bytes = await file.read(at, COUNT_SIZE);
  return new DataView(bytes.buffer, bytes.byteOffset, COUNT_SIZE).getBigInt64(0, true);
}

const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((item) => typeof item === 'string');
