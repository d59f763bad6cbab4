#!/usr/bin/env node
// A file of its own, not dist/main.js: npm links commands at install time, and skips those that a build has yet to write.
import { existsSync } from 'node:fs';
import process from 'node:process';
import { URL } from 'node:url';

if (existsSync(new URL('../dist/main.js', import.meta.url))) {
  await import('../dist/main.js');
} else {
  process.stderr.write('alignprop: not built yet. Run `npm run build` in the clone first.\n');
  process.exitCode = 1;
}
