import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { commandLine, quote, userShell } from './shell.js';

const words = [
  'red apple',
  '',
  '-a crab',
  '--',
  '$HOME ${HOME} $(id) `id`',
  'a "quoted" word',
  "it's 'quoted'",
  "don't!",
  'wow! !! !$ !-1 !bang "!x" \'!y\'',
  'two\nlines!\n',
  '\n',
  'a\\b \\ \\\\" \\',
  'back\\nslash %s %d \\x41',
  '~ ~root *? [a-z] {1,2} ;&|<>()# ^',
  '=ls',
  'a=b',
  '#comment',
  '日本語の猫 🐈 é',
  'tab\there',
  'escape \x1b[31m bell \x07 \r carriage \x7f \x85 next',
  '100% %PATH%',
  'C:\\Program Files\\a\\',
];

const program = 'process.stdout.write(JSON.stringify(process.argv.slice(1)))';
const command = commandLine([process.execPath, '--eval', program, '--', ...words], 'posix');

const shells: readonly (readonly [name: string, ...args: string[]])[] = [
  ['sh'],
  ['dash'],
  ['bash', '--norc'],
  ['bash', '--norc', '-i'],
  ['zsh', '-f'],
  ['zsh', '-f', '-i'],
  ['ksh'],
  ['busybox', 'ash'],
];
const installed = shells.filter(([name]) => spawnSync(name!, ['-c', 'true']).error === undefined);

describe.runIf(process.platform !== 'win32')('a quoted command', () => {
  it.each(installed)('passes every word unchanged in %s %s %s', (name, ...args) => {
    const options = args.includes('-i') ? 'set -o history -H 2>/dev/null; echo bang >/dev/null\n' : '';
    const { stdout } = spawnSync(name, args, { input: `${options}${command}\n`, encoding: 'utf8' });
    expect(JSON.parse(stdout)).toEqual(words);
  });

  it('has no character that a terminal obeys', () => {
    expect(command).not.toMatch(/(?!\n)\p{Cc}/u);
  });
});

/** Splits a line as the C runtime of Windows does: "Parsing C command-line arguments" in Microsoft's documentation. */
function windowsArguments(line: string): string[] {
  const found: string[] = [];
  let [current, isQuoted]: [string | undefined, boolean] = [undefined, false];
  for (let at = 0; at < line.length;) {
    const [run] = /^\\*/.exec(line.slice(at))!;
    const next = line[at + run.length];
    if (run !== '') {
      current = (current ?? '') + '\\'.repeat(next === '"' ? run.length / 2 : run.length);
      at += run.length;
      if (next === '"' && run.length % 2 === 1) [current, at] = [`${current}"`, at + 1];
    } else if (next === '"' && isQuoted && line[at + 1] === '"') [current, at] = [`${current}"`, at + 2];
    else if (next === '"') [current, isQuoted, at] = [current ?? '', !isQuoted, at + 1];
    else if (next === ' ' && !isQuoted) {
      if (current !== undefined) found.push(current);
      [current, at] = [undefined, at + 1];
    } else [current, at] = [`${current ?? ''}${next}`, at + 1];
  }
  return current === undefined ? found : [...found, current];
}

/** Removes carets as cmd does. @throws if a character is special to cmd, or a variable that exists is named */
function cmdLine(line: string, variables: readonly string[]): string {
  for (const [, name] of line.matchAll(/%([^%]*)(?=%)/g)) if (variables.includes(name!)) throw new Error(name);
  let [result, isQuoted] = ['', false];
  for (let at = 0; at < line.length; at++) {
    if (line[at] === '"') isQuoted = !isQuoted;
    else if (!isQuoted && line[at] === '^') at++;
    else if (!isQuoted && /[&|<>()\n]/.test(line[at]!)) throw new Error(`'${line[at]}' in ${line}`);
    result += line[at]!;
  }
  return result;
}

/** The words of a line as PowerShell sees them: all are bare or in single quotes. */
const powerShellWords = (line: string): string[] =>
  [...line.matchAll(/'((?:[^'‘’‚‛]|['‘’‚‛]{2})*)'|(\S+)/g)].map(
    ([, quoted, bare]) => quoted?.replace(/(['‘’‚‛])\1/g, '$1') ?? bare!,
  );

/** Joins words to a line of Windows as PowerShell 5.1 does: in quotes if they have spaces, and nothing is escaped. */
const legacyLine = (given: readonly string[]): string =>
  given.map((word) => (/\s/.test(word) ? `"${word}"` : word)).join(' ');

describe("a command for Windows' shells", () => {
  const hard = [...words, '‘typographic’ ‚quotes‛', '%', '%%', '"%PATH%"', 'a\\%', '&calc', '"&calc&"', '-a.b', 'x,y'];

  it('passes every word through cmd, and through a batch file, but for line breaks', () => {
    const line = commandLine(hard, 'cmd');
    const passed = cmdLine(line, ['PATH', 'HOME']);
    const expected = hard.map((word) => word.replace(/\r?\n|\r/g, ' '));
    expect(windowsArguments(passed)).toEqual(expected);
    expect(windowsArguments(cmdLine(passed, []))).toEqual(expected); // %* is expanded, and parsed again
  });

  it('passes every word through PowerShell 7', () => {
    expect(powerShellWords(commandLine(hard, 'powershell'))).toEqual(hard);
  });

  it('passes every word through Windows PowerShell, which escapes no quotes', () => {
    const line = legacyLine(powerShellWords(commandLine(hard, 'windows-powershell')));
    expect(windowsArguments(line.replaceAll('\n', '\v'))).toEqual(hard.map((word) => word.replaceAll('\n', '\v')));
  });

  it.each([
    ['posix', "'red apple'", 'out/a-b.png', "'a'\\''b'"],
    ['cmd', '"red apple"', 'out/a-b.png', '"a\'b"'],
    ['powershell', "'red apple'", 'out/a-b.png', "'a''b'"],
  ] as const)('is readable in %s', (shell, ...expected) => {
    expect(['red apple', 'out/a-b.png', "a'b"].map((word) => quote(word, shell))).toEqual(expected);
  });
});

describe('the shell of the user', () => {
  const system =
    'C:\\Program Files\\WindowsPowerShell\\Modules;C:\\WINDOWS\\system32\\WindowsPowerShell\\v1.0\\Modules';
  const own = 'C:\\Users\\me\\Documents\\WindowsPowerShell\\Modules';
  it.each([
    ['linux', { PSModulePath: `${own};${system}` }, 'posix'],
    ['darwin', {}, 'posix'],
    ['win32', { PSModulePath: system, COMSPEC: 'C:\\WINDOWS\\system32\\cmd.exe' }, 'cmd'],
    ['win32', {}, 'cmd'],
    ['win32', { PSModulePath: `${own};${system}` }, 'windows-powershell'],
    ['win32', { PSModulePath: `${own};c:\\program files\\powershell\\7\\Modules;${system}` }, 'powershell'],
    ['win32', { PSModulePath: system, MSYSTEM: 'MINGW64' }, 'posix'],
  ])('on %s with %o is %s', (platform, env, expected) => {
    expect(userShell(platform, env)).toBe(expected);
  });
});
