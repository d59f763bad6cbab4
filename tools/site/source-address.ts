import { readFileSync } from 'node:fs';

const manifest = new URL('../../packages/cli/package.json', import.meta.url);
const { repository } = JSON.parse(readFileSync(manifest, 'utf8')) as { repository: { url: string } };

/** The address at which the repository's files are read, without the slash at the end. */
export const sourceAddress = `${repository.url.replace(/^git\+|\.git$/g, '')}/blob/main`;
