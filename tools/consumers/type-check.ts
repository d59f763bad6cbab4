import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Project } from './project.js';

/** The compilers, pinned: each under an alias of its own, since they have programs of the same name. */
const compilers = ['6.0.3', '7.0.2'] as const;
export const typePackages: readonly string[] = [
  ...compilers.map((version) => `typescript-${version}@npm:typescript@${version}`),
  '@types/node@20.19.43',
];

/** The settings of `module` and `moduleResolution` under which programs import the packages. */
const settings = [
  { module: 'node16', moduleResolution: 'node16' },
  { module: 'nodenext', moduleResolution: 'nodenext' },
  { module: 'esnext', moduleResolution: 'bundler' },
] as const;

/** The errors of a compilation by the package whose file has them; '' is the program itself. */
export type ErrorsByPackage = Readonly<Record<string, readonly string[]>>;

/** Compiles consumer.ts with each compiler under each setting, with `strict` and without `skipLibCheck`. */
export async function checkTypes(project: Project): Promise<Record<string, ErrorsByPackage>> {
  const results: Record<string, ErrorsByPackage> = {};
  for (const { module, moduleResolution } of settings) {
    const file = `tsconfig.${module}.json`;
    const options = { strict: true, target: 'es2022', lib: ['es2023', 'dom'], skipLibCheck: false, noEmit: true };
    const compilerOptions = { ...options, module, moduleResolution, types: ['node'] };
    writeFileSync(join(project.home, file), JSON.stringify({ compilerOptions, files: ['consumer.ts'] }));
    for (const version of compilers) {
      const output = await project
        .run(['node', `node_modules/typescript-${version}/bin/tsc`, '--pretty', 'false', '-p', file])
        .catch((error: unknown) => (error as { stdout: string }).stdout);
      results[`TypeScript ${version}, ${module}, ${moduleResolution}`] = byPackage(output);
    }
  }
  return results;
}

function byPackage(output: string): ErrorsByPackage {
  const errors: Record<string, string[]> = {};
  for (const line of output.split('\n').filter((line) => /error TS\d+/.test(line))) {
    const name = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(line.split('(')[0]!)?.[1] ?? '';
    (errors[name] ??= []).push(line);
  }
  return errors;
}
