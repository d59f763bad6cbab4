// Checks of the workspace that no linter does: npm run check [-- --forbid-words FILE], a file with a word or phrase a
// line.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { compareFolderMap } from './folder-map.js';
import { findWords } from './forbidden-words.js';
import { findAddresses } from './lockfile.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (file: string): string => readFileSync(new URL(file, `file://${root}`), 'utf8');
const binary = /\.(png|jpe?g|safetensors|pth?|bin|npy|ckpt)$/;

const { values } = parseArgs({ options: { 'forbid-words': { type: 'string' } } });
const words = values['forbid-words'] ? readFileSync(values['forbid-words'], 'utf8').split('\n').filter(Boolean) : [];

const tracked = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
  cwd: root,
  encoding: 'utf8',
})
  .split('\0')
  .filter((file) => file && existsSync(join(root, file))); // a deleted file stays listed until it is staged
const sources = tracked.filter((file) => /^packages\/[^/]+\/src\/.*\.ts$/.test(file) && !file.includes('__fixtures__'));
const folders = [...new Set(sources.map((file) => dirname(file)))];
const copies = tracked.filter((file) => /^packages\/[^/]+\/(LICENSE|NOTICE)$/.test(file));

const problems = [
  ...compareFolderMap(read('ARCHITECTURE.md'), folders),
  ...findAddresses(read('package-lock.json')),
  ...copies
    .filter((file) => read(file) !== read(file.split('/').at(-1)!))
    .map((file) => `${file}: differs from the one at the root. Copy that one.`),
  ...tracked.filter((file) => !binary.test(file)).flatMap((file) => findWords(file, read(file), words)),
];

for (const problem of problems) console.error(problem);
console.log(
  problems.length === 0
    ? `${folders.length} folders of sources, all in ARCHITECTURE.md.`
    : `${problems.length} problems.`,
);
process.exitCode = problems.length === 0 ? 0 : 1;
