import { availableParallelism, cpus, totalmem } from 'node:os';
import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { backendNames, devices, engineNames } from '@alignprop/autograd-ext';
import { addEngineOptions, precisionOf, shareOfMachine, type EngineOptions } from './engine-options.js';

function parse(...args: string[]): EngineOptions {
  const command = new Command().exitOverride().configureOutput({ writeErr: () => {} });
  return addEngineOptions(command).parse(args, { from: 'user' }).opts<EngineOptions>();
}

describe('addEngineOptions', () => {
  it.each([
    ...engineNames.map((name) => ['engine', name]),
    ...devices.map((name) => ['device', name]),
    ...backendNames.map((name) => ['backend', name]),
  ])('reads --%s %s', (option, name) => {
    expect(parse(`--${option!}`, name!)).toEqual({ [option!]: name });
    expect(() => parse(`--${option!}`, 'abacus')).toThrow(/Allowed choices are/);
  });

  it.each([
    ['8GB', 8e9],
    ['8 gb', 8e9],
    ['500MB', 500e6],
    ['2MiB', 2 * 2 ** 20],
    ['1.5k', 1500],
    ['100', 100],
    ['100B', 100],
    ['50%', totalmem() / 2],
  ])('reads --max-memory %s', (text, bytes) => expect(parse('--max-memory', text).maxMemory).toBeCloseTo(bytes, 0));

  it.each(['much', '0', '8XB', '-1GB', ''])('rejects --max-memory %j', (text) =>
    expect(() => parse('--max-memory', text)).toThrow(/Expected a size such as 8GB, 500MB or 50%\./),
  );

  it('reads --threads, an integer of at least 1', () => {
    expect(parse('--threads', '3')).toEqual({ threads: 3 });
    for (const text of ['0', '1.5', 'all']) expect(() => parse('--threads', text)).toThrow(/Expected/);
  });
});

describe('precisionOf', () => {
  it.each(devices)('gives fp16 on the device %s unless it is the CPU', (device) => {
    expect(precisionOf('fp16', { device })).toBe(device === 'cpu' ? 'float32' : 'float16');
    expect(precisionOf('bf16', { device })).toBe('float32');
    expect(precisionOf('no', { device })).toBe('float32');
    expect(precisionOf('fp16', { engine: 'tfjs', device })).toBe('float32');
  });

  it('gives both formats on tensorflow', () => {
    expect(precisionOf('fp16', { backend: 'tensorflow' })).toBe('float16');
    expect(precisionOf('bf16', { engine: 'tfjs', backend: 'tensorflow' })).toBe('bfloat16');
    expect(precisionOf('bf16', { engine: 'onnxruntime', backend: 'tensorflow' })).toBe('float32');
    expect(precisionOf('fp16', { backend: 'wasm' })).toBe('float32');
  });
});

describe('shareOfMachine', () => {
  it('leaves a single process the defaults of its engine', () => expect(shareOfMachine(1)).toEqual({}));

  it('divides cores and memory among several processes', () => {
    const { threads, maxMemory } = shareOfMachine(2);
    expect(threads).toBe(Math.min(availableParallelism(), Math.max(1, Math.floor(cpus().length / 2))));
    expect(maxMemory).toBeGreaterThan(0);
    expect(maxMemory).toBeLessThan(totalmem() / 4);
  });
});
