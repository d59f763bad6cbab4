import { fileURLToPath } from 'node:url';

/**
 * The path of a file of this package's folder page/: parts of the pages of reports. It is relative to this module and
 * holds in src/ and in dist/, so this file must stay at the top of src/.
 */
export const reportFile = (name: string): string => fileURLToPath(new URL(`../page/${name}`, import.meta.url));
