// What --dry-run says against what the same command then does: processes of their own, on the sources.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';

const folder = mkdtempSync(join(tmpdir(), 'alignprop-dry-run-'));
afterAll(() => rmSync(folder, { recursive: true }));

const main = fileURLToPath(new URL('../main.ts', import.meta.url));
const runSources = new URL('../../../../tools/run-sources/register.mjs', import.meta.url).href;
const tellPeak =
  'data:text/javascript,process.on("exit", () => console.error(`peak ${process.resourceUsage().maxRSS} kB`))';
const sources = [
  '--conditions=@alignprop/source',
  '--import',
  import.meta.resolve('tsx'),
  '--import',
  runSources,
  '--import',
  tellPeak,
];

async function train(args: readonly string[]): Promise<{ stdout: string; peak: number }> {
  const child = spawn(process.execPath, [...sources, main, 'train', ...args], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_OPTIONS: '', DEBUG: '' },
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (data: Buffer) => void (stdout += data.toString()));
  child.stderr.on('data', (data: Buffer) => void (stderr += data.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  expect({ code, stderr }).toMatchObject({ code: 0 });
  return { stdout, peak: 1024 * Number(/peak (\d+) kB/.exec(stderr)![1]) };
}

interface Report {
  config: Record<string, unknown>;
  sources: Record<string, string>;
  attach_probabilities: number[];
  most_attached: number;
  effective_batch: number;
  trainable_parameters: number;
  writes: string[];
  memory: { total: number; free: number } & Record<string, number>;
}

describe('alignprop train --dry-run', () => {
  const short = [
    '--num-epochs',
    '2',
    '--sample-num-steps',
    '2',
    '--prompt',
    'crab',
    '--output-dir',
    'out',
    '--threads',
    '2',
  ];

  it.each([
    ['onnxruntime', ['--train-batch-size', '6', '--estimator', 'full']],
    ['tfjs', ['--train-batch-size', '3', '--estimator', 'draft-k', '--engine', 'tfjs']],
  ])(
    'estimates the memory within 20 % of what is then measured: %s',
    async (_, args) => {
      const report = JSON.parse((await train([...short, ...args, '--dry-run', '--json', '--quiet'])).stdout) as Report;
      expect(readdirSync(folder)).toEqual([]);
      const { peak } = await train([...short, ...args, '--quiet']);
      rmSync(join(folder, 'out'), { recursive: true });
      const { total, free, at, ...parts } = report.memory;
      expect(total / peak, JSON.stringify({ peak, ...report.memory })).toBeGreaterThan(0.8);
      expect(total / peak, JSON.stringify({ peak, ...report.memory })).toBeLessThan(1.2);
      expect(Object.values(parts).reduce((sum, bytes) => sum + bytes, 0)).toBeCloseTo(total, 0);
      expect([typeof at, free > 0]).toEqual(['string', true]);
    },
    180_000,
  );

  it('says what the run would be, and writes nothing', async () => {
    const plan = [
      '--sample-num-steps',
      '4',
      '--truncated-rand-backprop-minmax',
      '0',
      '4',
      '--train-gradient-accumulation-steps',
      '3',
      '--use-lora',
      'false',
    ];
    const { stdout } = await train([...short, ...plan, '--dry-run', '--quiet', '--json']);
    const report = JSON.parse(stdout) as Report;
    expect(report).toMatchObject({
      effective_batch: 3,
      trainable_parameters: 4_809_188,
      sources: { num_epochs: 'flag' },
      config: { num_epochs: 2, seed: 0 },
    });
    // Of cuts 0 to 4, i + 1 attach step i; one draw in 5·5/2·5/3·5/4 ≈ 26 attaches none, and is made again.
    const accepted = 1 - (4 / 5) * (3 / 5) * (2 / 5) * (1 / 5);
    report.attach_probabilities.forEach((probability, i) =>
      expect(probability).toBeCloseTo((i + 1) / 5 / accepted, 10),
    );
    expect(report.writes).toContain('out/unet/');
    expect(report.memory.optimizer).toBeGreaterThan(4 * 4 * 4_809_188);
    const words = (
      await train([...short, '--dry-run', '--estimator', 'full', '--max-memory', '8GB', '--train-batch-size', '64'])
    ).stdout;
    for (const part of [
      /^num_epochs +2 {2}\(flag\)$/m,
      /^seed +0$/m,
      /^Attached +step 0 to 1: 1$/m,
      /^Batch +64 images/m,
      /^ +activations +\d+$/m,
      /^ +total +\d+$/m,
      /It (fits|does not fit) into the \d+ MB that are free/,
    ])
      expect(words).toMatch(part);
    expect(readdirSync(folder)).toEqual([]);
  }, 180_000);
});
