import { getBackend } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { ensureBackend, useBackend, type BackendName } from './backend.js';

describe('useBackend', () => {
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
    await expect(failing).rejects.toThrow("useBackend: backend got 'webgl', expected one of wasm, cpu.");
    await next;
    expect(getBackend()).toBe('wasm');
  });
});
