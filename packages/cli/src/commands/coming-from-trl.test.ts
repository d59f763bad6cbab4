import { readdirSync, readFileSync } from 'node:fs';
import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { canonicalFlags } from '../options/flags.js';
import { addTrainingOptions } from './train.js';

const root = new URL('../../../../', import.meta.url);
const page = readFileSync(new URL('docs/coming-from-trl.md', root), 'utf8');
const train = new Command('train');
addTrainingOptions(train);
const known = new Set(train.options.map(({ long }) => long));

/** The flags of a text, in the spelling of the help. */
const flagsOf = (text: string): string[] =>
  canonicalFlags(['train', ...text.split(/[\s`]+/)]).args.flatMap((arg) => /^--[a-z][\w-]*/.exec(arg)?.[0] ?? []);

describe('docs/coming-from-trl.md', () => {
  it("has TRL's command line with flags that exist", () => {
    const [, command = ''] = /```sh\n(.*?)```/s.exec(page)!;
    const flags = flagsOf(command.replaceAll('\\\n', ' '));
    expect(flags).toEqual(expect.arrayContaining(['--pretrained-model', '--reward', '--num-epochs', '--log-with']));
    for (const flag of flags) expect(known, flag).toContain(flag);
  });

  it('names flags of the table that exist, in either spelling', () => {
    const flags = [...page.matchAll(/`(--[a-z][\w.-]*)/g)].map(([, flag]) => flag!);
    expect(flags.length).toBeGreaterThan(10);
    for (const flag of flags) for (const own of flagsOf(`${flag} value`)) expect(known, flag).toContain(own);
  });

  it('names tests that exist', () => {
    const packages = readdirSync(new URL('packages', root)).map((name) => `packages/${name}/src`);
    const tests = [...packages, 'tools'].flatMap((folder) =>
      readdirSync(new URL(folder, root), { recursive: true }).map(
        (path) => `${folder}/${String(path).replaceAll('\\', '/')}`,
      ),
    );
    const named = [...page.matchAll(/`([\w/-]+\.test\.ts)`/g)].map(([, name]) => name!);
    expect(named.length).toBeGreaterThan(10);
    for (const name of named)
      expect(
        tests.some((path) => path === name || path.endsWith(`/${name}`)),
        name,
      ).toBe(true);
  });
});
