/** The shells whose rules differ. `windows-powershell` is the version 5.1, `powershell` a newer one on Windows. */
export type Shell = 'posix' | 'cmd' | 'powershell' | 'windows-powershell';

/**
 * The shell that a command is pasted into, as far as the environment tells. Windows has PSModulePath in all shells;
 * PowerShell puts the user's own folder and that of its version before the system's. Git's bash and MSYS2 set MSYSTEM.
 */
export function userShell(platform: string = process.platform, env: NodeJS.ProcessEnv = process.env): Shell {
  if (platform !== 'win32' || env.MSYSTEM) return 'posix';
  const modules = (env.PSModulePath ?? '').split(';').filter(Boolean);
  if (modules.some((folder) => /\\PowerShell\\7\\Modules$/i.test(folder))) return 'powershell';
  return modules.length > 2 ? 'windows-powershell' : 'cmd';
}

/** Joins words to a command that passes them unchanged when it is pasted into the shell. */
export const commandLine = (words: readonly string[], shell: Shell = userShell()): string =>
  words.map((word) => quote(word, shell)).join(' ');

/**
 * Quotes a word for a shell, unless it needs no quotes. A line break becomes a space for cmd, whose commands are one
 * line.
 */
export function quote(word: string, shell: Shell = userShell()): string {
  return isPlain(word, shell) ? word : quotations[shell](word);
}

/**
 * Whether a word means itself without quotes. PowerShell splits options at dots, and takes a comma for a list; zsh
 * expands a leading `=`.
 */
function isPlain(word: string, shell: Shell): boolean {
  if (shell === 'posix') return /^[\w@%+:,./-][\w@%+=:,./-]*$/.test(word);
  if (shell === 'cmd') return /^[\w.:/\\+-]+$/.test(word);
  return /^(?:[\w.:/\\][\w.:/\\+-]*|--?[\w-]+)$/.test(word);
}

const quotations: Readonly<Record<Shell, (word: string) => string>> = {
  posix: quotePosix,
  cmd: quoteCmd,
  powershell: quotePowerShell,
  'windows-powershell': (word) => quotePowerShell(legacyArgument(word)),
};

/**
 * Within single quotes everything means itself, also `!`. Control characters are written as octal numbers: a terminal
 * would obey them. A line break stays, since `$(…)` removes it at the end.
 */
function quotePosix(word: string): string {
  const pieces = word.split(/((?!\n)\p{Cc})/u).filter((piece, i) => piece !== '' || i % 2 > 0);
  const octal = (character: string) =>
    [...new TextEncoder().encode(character)].map((byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('');
  const quoted = pieces.map((piece) =>
    /^(?!\n)\p{Cc}$/u.test(piece) ? `"$(printf '${octal(piece)}')"` : `'${piece.replaceAll("'", `'\\''`)}'`,
  );
  return quoted.join('') || "''";
}

/**
 * Quotes twice over, for cmd and for the C runtime, which splits the line into arguments. A quote is doubled: then cmd
 * stays within quotes, also when npm's alignprop.cmd passes the line on. A percent sign stands between quotes behind a
 * caret, so that it names no variable.
 */
function quoteCmd(word: string): string {
  const parts = word.replace(/\r?\n|\r/g, ' ').split('%');
  const quoted = parts.map((part) => (part === '' && parts.length > 1 ? '' : `"${escapeQuotes(part, '""')}"`));
  return quoted.join('^%');
}

/** PowerShell takes typographic single quotes for plain ones; doubled, they stand for themselves. */
function quotePowerShell(word: string): string {
  return `'${word.replace(/['‘’‚‛]/g, '$&$&')}'`;
}

/** Windows PowerShell puts arguments with spaces into quotes, without escaping the quotes in them. */
function legacyArgument(word: string): string {
  if (word === '') return '""';
  return /\s/.test(word) ? escapeQuotes(word, '\\"') : word.replace(/(\\*)"/g, '$1$1\\"');
}

/** Replaces quotes by `escape`, and doubles the backslashes before quotes and at the end, as the C runtime wants. */
const escapeQuotes = (word: string, escape: string): string =>
  word.replace(/(\\*)("|$)/g, (_, backslashes: string, quote: string) => backslashes.repeat(2) + (quote && escape));
