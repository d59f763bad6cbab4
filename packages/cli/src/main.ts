// Entry point of the `alignprop` command.
import { run } from './program.js';
import { surviveClosedPipes } from './terminal/closed-pipes.js';

surviveClosedPipes();
process.exitCode = await run(process.argv.slice(2));
