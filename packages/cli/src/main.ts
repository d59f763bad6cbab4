// Entry point of the `alignprop` command.
import { run } from './program.js';

process.exitCode = await run(process.argv.slice(2));
