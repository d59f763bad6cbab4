import { statSync } from 'node:fs';
import { isAbsence } from '@alignprop/autograd-ext/weights';

/**
 * Whether there is a file or folder of this name. In place of `existsSync`, which says no of what cannot be read.
 * @throws if it cannot be told: a missing permission, a failing disk
 */
export function pathExists(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch (error) {
    if (isAbsence(error)) return false;
    throw error;
  }
}
