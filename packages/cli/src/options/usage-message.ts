import type { Command, CommanderError } from 'commander';
import { otherCommandNames, otherOptionNames } from './other-names.js';
import { ownCommand } from '../terminal/program-command.js';
import { meantName } from './suggestions.js';

/**
 * Returns the message of wrong usage that commander detected, in a line: with the option or command that was meant, or
 * the command whose help lists them.
 */
export function usageMessage({ code, message }: CommanderError, program: Command, args: readonly string[]): string {
  const text = message.replace(/^error: /, '').trim();
  const command = calledCommand(program, args);
  const unknown = /^unknown (?:option|command) '(-*)([^'=]*)/.exec(text)?.[2] ?? '';
  const meant =
    code === 'commander.unknownOption'
      ? meantOption(unknown, command)
      : code === 'commander.unknownCommand'
        ? meantName(unknown, subcommands(command), command === program ? otherCommandNames : {})
        : undefined;
  const help = ownCommand(...path(command), '--help');
  return `${text} (${meant === undefined ? `See ${help}.` : `Did you mean ${meant}?`})`;
}

function meantOption(written: string, command: Command): string | undefined {
  const options = [...command.options, ...(command.parent?.options ?? [])].filter(({ hidden }) => !hidden);
  const name = meantName(
    written,
    options.map((option) => option.name()),
    otherOptionNames,
  );
  return name && `--${name}`;
}

const subcommands = (command: Command): string[] => command.commands.map((subcommand) => subcommand.name());

/** Returns the innermost command that the arguments name. */
function calledCommand(program: Command, args: readonly string[]): Command {
  let command = program;
  for (const arg of args) command = command.commands.find((candidate) => candidate.name() === arg) ?? command;
  return command;
}

/** The names of a command and of those around it, without the program's. */
const path = (command: Command): readonly string[] => (command.parent ? [...path(command.parent), command.name()] : []);
