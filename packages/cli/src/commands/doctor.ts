import { Option, type Command } from 'commander';
import { checkEngines } from '../doctor/engine-checks.js';
import { runProbe, type ProbeName } from '../doctor/engine-probe.js';
import type { Finding } from '../doctor/finding.js';
import { checkHub } from '../doctor/hub-checks.js';
import { checkPackages } from '../doctor/package-checks.js';
import { checkSystem } from '../doctor/system-checks.js';
import { ReportedElsewhere } from '../terminal/errors.js';
import { addOutputOptions, Output, type OutputOptions } from '../terminal/output.js';

interface DoctorOptions extends OutputOptions {
  probe?: ProbeName;
}

/** Adds the options and the action of `alignprop doctor`. */
export function defineCommand(command: Command): void {
  addOutputOptions(command.addOption(new Option('--probe <engine:device>').hideHelp()))
    .addHelpText('after', details)
    .action(async (options: DoctorOptions) => {
      if (options.probe) process.stdout.write(JSON.stringify(await runProbe(options.probe)));
      else await doctor(new Output(options));
    });
}

const details = `
Tests every engine and device that is installed with a small function and its gradient, and measures its speed. Then it
looks at memory, disk, the cache and the hub, and at optional packages. A problem is shown with the command that
mends it. Takes about ten seconds; sends one request to the hub.

Exit codes: 0 all is well, 1 something that the commands need by default is broken or missing.

Examples:
  $ alignprop doctor
  $ alignprop doctor --json | jq 'select(.status == "problem")'`;

/** The checks, in the order of the report. */
const checks: readonly (() => Promise<readonly Finding[]>)[] = [checkSystem, checkEngines, checkHub, checkPackages];

/** @throws ReportedElsewhere if there are problems */
async function doctor(output: Output): Promise<void> {
  let problems = 0;
  for (const check of checks)
    for (const finding of await check()) {
      report(finding, output);
      if (finding.status === 'problem') problems++;
    }
  const summary = problems === 0 ? 'All is well.' : `${problems} ${problems === 1 ? 'problem' : 'problems'}.`;
  output.result({ event: 'done', problems }, summary);
  if (problems > 0) throw new ReportedElsewhere(summary);
}

const marks = { ok: 'ok     ', note: 'note   ', problem: 'PROBLEM' } as const;

/** That of the longest name, `@tensorflow/tfjs-converter`. */
const nameWidth = 26;

function report({ name, status, text, fix, values }: Finding, output: Output): void {
  const line = `${marks[status]}  ${name.padEnd(nameWidth)}  ${text}`;
  const advice = fix ? `\n${' '.repeat(marks.ok.length + nameWidth + 4)}fix: ${fix}` : '';
  output.result({ event: 'check', name, status, text, ...(fix && { fix }), ...values }, `${line}${advice}`);
}
