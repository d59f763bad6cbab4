// Runs a TypeScript program on the packages' sources, with no build:
//   node --conditions=@alignprop/source --import tsx --import ./tools/run-sources/register.mjs program.ts
import { register } from 'node:module';

register('./hooks.mjs', import.meta.url);
