import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { getBackend } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { bundleProgram } from '../../../fixtures/bundle-program.js';
import { runProgram } from '../../../fixtures/run-program.js';
import { temporaryFolder } from '../../../fixtures/temporary-folder.js';
import { ensureBackend, useBackend, type BackendName } from './backend.js';

const folder = temporaryFolder();

describe('useBackend', () => {
  it('leaves no handler of uncaught errors in the process, except those of others', async () => {
    const others = () => {};
    const starting = useBackend('wasm');
    process.on('unhandledRejection', others);
    await starting;
    expect(process.listeners('unhandledRejection')).toContain(others);
    process.off('unhandledRejection', others);
    const host: NodeJS.EventEmitter = process;
    const sources = ['uncaughtException', 'unhandledRejection'].flatMap((event) => host.listeners(event).map(String));
    expect(sources.filter((source) => /^function ?\(\w+\)/.test(source) && source.includes('throw '))).toEqual([]);
  });

  it('starts one backend for all calls that are made at once', async () => {
    await Promise.all([useBackend('wasm'), ensureBackend(), useBackend('wasm'), ensureBackend()]);
    expect(getBackend()).toBe('wasm');
  });

  it('activates backends in the order of the calls', async () => {
    await Promise.all([useBackend('cpu'), useBackend('wasm'), useBackend('wasm'), useBackend('cpu')]);
    expect(getBackend()).toBe('cpu');
  });

  it('starts the next backend after one that failed', async () => {
    const failing = useBackend('webgl' as BackendName);
    const next = useBackend('wasm');
    await expect(failing).rejects.toThrow("useBackend: backend got 'webgl', expected one of wasm, cpu, tensorflow.");
    await next;
    expect(getBackend()).toBe('wasm');
  });

  it.each([
    ['wasm', 2, "threads got 2 for the backend 'wasm', expected none"],
    ['tensorflow', 0, 'threads got 0, expected an integer of at least 1'],
    ['tensorflow', 1.5, 'threads got 1.5, expected an integer'],
  ] as const)('refuses threads on %s: %d', (name, threads, message) =>
    expect(useBackend(name, { threads })).rejects.toThrow(message),
  );
});

describe('ensureBackend', () => {
  it('starts wasm beside the cpu backend that @tensorflow/tfjs registers, and keeps it', async () => {
    const module = await bundleProgram(fileURLToPath(new URL('backend.ts', import.meta.url)), join(folder, 'bundle'));
    const program = join(folder, 'bundle/beside-umbrella.mjs');
    writeFileSync(program, besideUmbrella(module));
    const { code, stdout, stderr } = await runProgram(program, [], { isBundled: true });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(JSON.parse(stdout)).toEqual({ before: 'wasm', after: 'wasm', handlers: [0, 0] });
  });
});

const besideUmbrella = (module: string): string => `
  import { ensureBackend } from ${JSON.stringify(module)};
  import { getBackend } from '@tensorflow/tfjs-core';
  await import('@tensorflow/tfjs-backend-cpu');
  await ensureBackend();
  const before = getBackend();
  const log = console.log;
  console.log = console.warn = () => {};
  await import('@tensorflow/tfjs');
  await ensureBackend();
  const handlers = ['uncaughtException', 'unhandledRejection'].map((event) => process.listenerCount(event));
  log(JSON.stringify({ before, after: getBackend(), handlers }));`;
