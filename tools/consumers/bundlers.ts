// Bundles one program with each bundler, without settings, for browsers and for servers.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** The commands that bundle the programs of a project's folder; each runs there. */
export interface Bundler {
  readonly name: string;
  /** The packages to install beside ours, pinned. */
  readonly packages: readonly string[];
  /** Writes the files that the bundler expects. */
  prepare?(home: string): void;
  /** Bundles for browsers, from page.mjs. Undefined if it bundles for servers only. */
  readonly client?: Bundle;
  /** Bundles for Node, from server.mjs. */
  readonly server?: Bundle;
}

interface Bundle {
  /** A command of node_modules/.bin and its arguments. */
  readonly command: readonly string[];
  /** The folder to serve, or the file to run. */
  readonly output: string;
}

const page = '<!doctype html><script type="module" src="./main.js"></script>';

export const bundlers: readonly Bundler[] = [
  {
    name: 'esbuild 0.28.2',
    packages: ['esbuild@0.28.2'],
    prepare: (home) => writePage(home, 'out-esbuild'),
    client: {
      command: ['esbuild', 'page.mjs', '--bundle', '--minify', '--outfile=out-esbuild/main.js'],
      output: 'out-esbuild',
    },
    server: {
      command: ['esbuild', 'server.mjs', '--bundle', '--platform=node', '--outfile=out-esbuild-node/main.cjs'],
      output: 'out-esbuild-node/main.cjs',
    },
  },
  {
    name: 'webpack 5.113',
    packages: ['webpack@5.113.0', 'webpack-cli@6.0.1'],
    prepare: (home) => writePage(home, 'out-webpack'),
    client: {
      command: ['webpack', './page.mjs', '--mode', 'production', '--output-path', 'out-webpack'],
      output: 'out-webpack',
    },
    server: {
      // Webpack writes CommonJS, which Node takes for ES modules in a project of "type": "module" if it ends in .js.
      command: [
        ...['webpack', './server.mjs', '--mode', 'production', '--target', 'node', '--output-path', 'out-webpack-node'],
        ...['--output-filename', 'main.cjs', '--output-chunk-filename', '[name].cjs'],
      ],
      output: 'out-webpack-node/main.cjs',
    },
  },
  {
    name: 'vite 8.4',
    packages: ['vite@8.4.0'],
    prepare: (home) => writeFileSync(join(home, 'index.html'), page.replace('./main.js', '/page.mjs')),
    client: { command: ['vite', 'build', '--outDir', 'out-vite'], output: 'out-vite' },
    server: {
      command: ['vite', 'build', '--ssr', 'server.mjs', '--outDir', 'out-vite-node'],
      output: 'out-vite-node/server.js',
    },
  },
  {
    name: 'rollup 4.68',
    packages: ['rollup@4.68.8', '@rollup/plugin-node-resolve@16.0.3', '@rollup/plugin-commonjs@29.0.3'],
    prepare: (home) => writePage(home, 'out-rollup'),
    client: {
      command: [
        'rollup',
        'page.mjs',
        ...['-p', 'node-resolve={browser:true}', '-p', 'commonjs'],
        ...['--dir', 'out-rollup', '--entryFileNames', 'main.js'],
      ],
      output: 'out-rollup',
    },
  },
  {
    name: 'bun 1.4 build',
    packages: [],
    prepare: (home) => writePage(home, 'out-bun'),
    client: { command: ['bun', 'build', 'page.mjs', '--outfile=out-bun/main.js'], output: 'out-bun' },
    server: {
      command: ['bun', 'build', 'server.mjs', '--target=node', '--outfile=out-bun-node/main.mjs'],
      output: 'out-bun-node/main.mjs',
    },
  },
];

function writePage(home: string, folder: string): void {
  mkdirSync(join(home, folder), { recursive: true });
  writeFileSync(join(home, folder, 'index.html'), page);
}
