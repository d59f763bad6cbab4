import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const packages = fileURLToPath(new URL('../../packages', import.meta.url));

/**
 * Packs all packages into a folder, as they would be published. They have to be built.
 * @returns the paths of the tarballs by package name without scope
 * @throws if a package lacks a file that each has to have, or contains tests
 */
export function pack(folder: string): Record<string, string> {
  return Object.fromEntries(
    readdirSync(packages).map((name) => {
      const output = execFileSync('npm', ['pack', '--json', '--pack-destination', folder], {
        cwd: join(packages, name),
        encoding: 'utf8',
        maxBuffer: 2 ** 26,
        shell: process.platform === 'win32', // npm is a script there
      });
      const [{ filename, files }] = JSON.parse(output) as [{ filename: string; files: { path: string }[] }];
      const paths = files.map(({ path }) => path);
      const missing = ['LICENSE', 'NOTICE', 'README.md', 'package.json'].filter((file) => !paths.includes(file));
      if (missing.length > 0) throw new Error(`pack: ${name} lacks ${missing.join(', ')}.`);
      if (!paths.some((path) => path.startsWith('dist/')))
        throw new Error(`pack: ${name} is not built. Run npm run build.`);
      const tests = paths.filter((path) => path.includes('.test.') || path.includes('__fixtures__'));
      if (tests.length > 0) throw new Error(`pack: ${name} contains tests: ${tests.join(', ')}.`);
      return [name, join(folder, filename)];
    }),
  );
}
