import { tensor1d } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../../../backend.js';
import { expectNoLeaks } from '../../../testing/index.js';
import { attend, checkAttention, refuseFaults } from './device-faults.js';
import { integers, node, type Value } from '../graph/graph.js';
import { nodeRuntime } from './node-runtime.js';

beforeAll(() => useBackend('wasm'));

describe('checkAttention', () => {
  it('accepts a device that agrees with the CPU', () =>
    expectNoLeaks(() => checkAttention('cpu', attend(nodeRuntime, { device: 'cpu', threads: 1 }))));

  it('refuses a device that disagrees with the CPU', async () => {
    const wrong = checkAttention('webgpu', (device) =>
      Promise.resolve([tensor1d(device === 'cpu' ? [1, -2] : [1, -1.7])]),
    );
    await expect(wrong).rejects.toThrow(
      'attention on webgpu is off by 15 % of its largest value, a fault of ONNX Runtime or of ' +
        "this machine's driver. Use device 'cpu'",
    );
  });

  it('refuses a device that returns NaN', async () => {
    const wrong = checkAttention('webgpu', (device) =>
      Promise.resolve([tensor1d(device === 'cpu' ? [1, -2] : [1, NaN])]),
    );
    await expect(wrong).rejects.toThrow('attention on webgpu is off by NaN %');
  });
});

describe('refuseFaults', () => {
  const x: Value = { shape: [1, 4, 6, 6], dtype: 'float32', source: { kind: 'input', name: 'x' } };
  const grouped = node('ConvTranspose', [x, x], [1, 4, 6, 6], { attributes: { group: { int: 4 } } });
  const slice = (step: number) =>
    node('Slice', [x, integers([-1]), integers([-7]), integers([2]), integers([step])], [1, 4, 3, 6]);
  const nodeOf = ({ source }: Value) => (source as Extract<Value['source'], { kind: 'node' }>).node;

  it.each([
    [grouped, 'gradients of depthwise convolutions'],
    [slice(-2), 'slices that go backwards by more than one'],
  ])('names the operator that a device computes wrongly (case %#)', (value, what) => {
    expect(() => refuseFaults('reward', [nodeOf(value)], 'webgpu')).toThrow(
      `'reward' cannot run on webgpu: ONNX Runtime computes ${what} wrongly there. Use device 'cpu'.`,
    );
    expect(() => refuseFaults('reward', [nodeOf(value)], 'cpu')).not.toThrow();
  });

  it('accepts nodes without known faults', () =>
    expect(() => refuseFaults('reward', [nodeOf(slice(-1))], 'webgpu')).not.toThrow());
});
