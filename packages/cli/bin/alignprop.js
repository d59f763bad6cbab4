#!/usr/bin/env node
// npm links commands at install time and skips missing files. Before the first build dist/main.js is missing, so the
// command is this file.
import { existsSync } from 'node:fs';
import process from 'node:process';
import { URL } from 'node:url';

if (existsSync(new URL('../dist/main.js', import.meta.url))) {
  await import('../dist/main.js');
} else {
  process.stderr.write('alignprop: not built yet. Run `npm run build` in the clone first.\n');
  process.exitCode = 1;
}
