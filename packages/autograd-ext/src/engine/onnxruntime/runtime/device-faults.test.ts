import { tensor1d } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { useBackend } from '../../../backend.js';
import { expectNoLeaks } from '../../../testing/index.js';
import { microsoft, node, nodesOf, type Value } from '../graph/graph.js';
import { attend, avoidFaults, canAttend } from './device-faults.js';
import { nodeRuntime } from './node-runtime.js';
import type { Device } from './session.js';

beforeAll(() => useBackend('wasm'));

describe('canAttend', () => {
  it('is true on a device that agrees with the CPU', () =>
    expectNoLeaks(async () => {
      expect(await canAttend('cpu', attend(nodeRuntime, { device: 'cpu', threads: 1 }))).toBe(true);
    }));

  it.each([
    ['is 15 % off', -1.7, false],
    ['is 0.5 % off', -1.99, true],
    ['returns NaN', NaN, false],
  ])('compares a device that %s', async (_, value, expected) => {
    const results = { cpu: [1, -2], webgpu: [1, value] } as const;
    const run = (device: Device) => Promise.resolve([tensor1d([...results[device as 'cpu']])]);
    expect(await canAttend('webgpu', run)).toBe(expected);
  });
});

describe('avoidFaults', () => {
  const image: Value = { shape: [1, 4, 6, 6], dtype: 'float32', source: { kind: 'input', name: 'x' } };
  const volume: Value = { ...image, shape: [1, 4, 6, 6, 6] };
  const opsOf = (outputs: readonly Value[]) => new Set(nodesOf(outputs).map(({ op }) => op));
  const cosine = node('Cos', [image], image.shape);
  const attributes = { num_heads: { int: 2 }, scale: { float: 0.5 } };
  const tokens: Value = { ...image, shape: [1, 9, 4] };
  const attention = node('MultiHeadAttention', [tokens, tokens, tokens], tokens.shape, {
    domain: microsoft,
    attributes,
  });
  const answering = (answer: boolean) => vi.fn(() => Promise.resolve(answer));

  it('replaces operators on webgpu and leaves them on other devices', async () => {
    expect(await avoidFaults('reward', [cosine], 'cpu', answering(true))).toEqual([cosine]);
    expect(opsOf(await avoidFaults('reward', [cosine], 'webgpu', answering(true)))).toEqual(
      new Set(['Add', 'Floor', 'Mul', 'Sub']),
    );
  });

  it('replaces attention only where a check fails, and checks only graphs with attention', async () => {
    const [right, wrong, unasked] = [answering(true), answering(false), answering(false)];
    expect(await avoidFaults('unet', [attention], 'cuda', right)).toEqual([attention]);
    expect([...opsOf(await avoidFaults('unet', [attention], 'cuda', wrong))]).toContain('Softmax');
    await avoidFaults('reward', [cosine], 'cuda', unasked);
    expect([right, wrong, unasked].map(({ mock }) => mock.calls.length)).toEqual([1, 1, 0]);
  });

  it('refuses gradients of volumes on webgpu', () =>
    expect(
      avoidFaults('reward', [node('ConvTranspose', [volume, volume], volume.shape)], 'webgpu', answering(true)),
    ).rejects.toThrow(
      "'reward' cannot run on webgpu: ONNX Runtime lacks gradients of convolutions and pools of volumes there. " +
        "Use device 'cpu'.",
    ));
});

it('refuses a device that ONNX Runtime was not built with, on which it would use the CPU', async () => {
  const device = process.platform === 'darwin' ? 'dml' : 'coreml';
  await expect(attend(nodeRuntime, { device })(device)).rejects.toThrow(
    `device got '${device}', expected one that onnxruntime-node has here: cpu`,
  );
});
