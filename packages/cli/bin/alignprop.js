#!/usr/bin/env node
// A file of its own, not dist/main.js: npm links commands at install time, and skips those that a build has yet to write.
import { existsSync } from 'node:fs';

if (existsSync(new URL('../dist/main.js', import.meta.url))) {
  await import('../dist/main.js');
} else {
  console.error('alignprop: not built yet. Run `npm run build` in the clone first.');
  process.exitCode = 1;
}
