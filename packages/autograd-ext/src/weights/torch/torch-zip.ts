import { excerptList } from '../../outside/excerpt.js';
import { readPieces, type RandomAccessFile } from '../files/file-source.js';
import { reopen, type OpenedFile } from '../files/opened-file.js';
import { crc32 } from './crc32.js';
import { unpickle } from './pickle.js';
import { checkStorageSize, MAX_PICKLE, type StorageBytes, type TorchArchive } from './torch-archive.js';
import { ADVICE, TorchFileError } from './torch-file-error.js';
import { torchMeaning } from './torch-globals.js';
import { checkCrc, locateMember, readMember, readZipDirectory, type ZipMember } from './zip-archive.js';

// The maximal size of the member `byteorder`.
const MAX_BYTE_ORDER = 64;

/**
 * Opens a file in the format since torch 1.6: a zip archive of `NAME/data.pkl` and, for each storage, `NAME/data/KEY`.
 * Reads only the former.
 */
export async function openTorchZip(opened: OpenedFile): Promise<TorchArchive> {
  const { file } = opened;
  const members = await readZipDirectory(file);
  const folder = findFolder(members);
  await checkByteOrder(file, members.get(`${folder}/byteorder`));
  const pickle = await readMember(file, members.get(`${folder}/data.pkl`)!, MAX_PICKLE);
  return {
    value: unpickle(pickle, 0, torchMeaning).value,
    locate: async (storage) => {
      const member = members.get(`${folder}/data/${storage.key}`);
      if (!member)
        throw new TorchFileError(
          `storage '${storage.key}' is not in the archive, expected a file '${folder}/data/${storage.key}'.`,
        );
      checkStorageSize(storage, member.size);
      return member.deflated
        ? deflatedBytes(opened, member)
        : storedBytes(opened, member, await locateMember(file, member));
    },
  };
}

/** Returns the NAME of the archive's folder. @throws TorchFileError if the archive is not a checkpoint */
function findFolder(members: ReadonlyMap<string, ZipMember>): string {
  const folders = [...members.keys()].flatMap((name) => /^([^/]+)\/data\.pkl$/.exec(name)?.[1] ?? []);
  const [folder] = folders;
  if (folder === undefined || folders.length > 1) {
    const names = excerptList(members.keys(), 5) || 'nothing';
    throw new TorchFileError(
      `the archive got ${names}, expected one file 'NAME/data.pkl' as torch.save writes.`,
      ADVICE.checkFile,
    );
  }
  if (members.has(`${folder}/constants.pkl`))
    throw new TorchFileError(
      'the archive is a TorchScript program (torch.jit.save), expected tensors.',
      'Open it with torch.jit.load and save its tensors: torch.save(module.state_dict(), path).',
    );
  return folder;
}

async function checkByteOrder(file: RandomAccessFile, member: ZipMember | undefined): Promise<void> {
  const order = member ? new TextDecoder().decode(await readMember(file, member, MAX_BYTE_ORDER)) : 'little';
  if (order !== 'little')
    throw new TorchFileError(`the byte order got '${order}', expected 'little'.`, ADVICE.saveLittleEndian);
}

/** An uncompressed storage, read by ranges. The first read checks the checksum of the whole storage. */
function storedBytes(opened: OpenedFile, member: ZipMember, offset: number): StorageBytes {
  const { size } = member;
  let checked = member.crc === undefined;
  const checkOnce = (crc: number): void => {
    if (!checked) checkCrc(member, crc);
    checked = true;
  };
  return {
    size,
    read: (begin, end) =>
      reopen(opened, async (file) => {
        const bytes = await file.read(offset + begin, end - begin);
        if (!checked) checkOnce(bytes.length === size ? crc32(bytes) : await crcOfRange(file, offset, size));
        return bytes;
      }),
    range: {
      offset,
      scan: (begin, end, visit) =>
        reopen(opened, async (file) => {
          const isWhole = end - begin === size;
          if (!checked && !isWhole) checkOnce(await crcOfRange(file, offset, size));
          let crc = 0;
          await readPieces(file, offset + begin, end - begin, (piece) => {
            if (!checked) crc = crc32(piece, crc);
            visit(piece);
          });
          checkOnce(crc);
        }),
    },
  };
}

async function crcOfRange(file: RandomAccessFile, offset: number, size: number): Promise<number> {
  let crc = 0;
  await readPieces(file, offset, size, (piece) => (crc = crc32(piece, crc)));
  return crc;
}

/** The most bytes of a compressed storage, which is decompressed as a whole: more than any of Stable Diffusion's. */
const MAX_DEFLATED = 2 ** 28;

/** A compressed storage: every read decompresses all of it. @throws TorchFileError if it is larger than 256 MiB */
function deflatedBytes(opened: OpenedFile, member: ZipMember): StorageBytes {
  if (member.size > MAX_DEFLATED)
    throw new TorchFileError(
      `'${member.name}' of the archive got ${member.size} compressed bytes, expected at most ${MAX_DEFLATED}.`,
      'Save the file again with torch, which does not compress it.',
    );
  return {
    size: member.size,
    read: async (begin, end) => (await reopen(opened, (file) => readMember(file, member))).slice(begin, end),
  };
}
