// ENOTDIR: a part of the path is a file. The last two: no file can have the name, which is too long or has NUL in it.
const absences: readonly unknown[] = ['ENOENT', 'ENOTDIR', 'ENAMETOOLONG', 'ERR_INVALID_ARG_VALUE'];

/** Whether an error of the file system says that there is no such file or folder. */
export const isAbsence = (error: unknown): boolean => absences.includes((error as NodeJS.ErrnoException | null)?.code);

/**
 * Returns the result of an operation on a file or folder; undefined if there is none of the name. Use it in place of
 * `.catch(() => undefined)`, which takes a file that cannot be read for one that does not exist.
 * @throws every other error: missing permission, a failing disk, too many open files
 */
export async function ifPresent<T>(operation: Promise<T>): Promise<T | undefined> {
  try {
    return await operation;
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw error;
  }
}
