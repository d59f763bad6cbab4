// Compares what --dry-run predicts with what the same command then does, in processes of their own.
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { bundleCommand } from '../../../../fixtures/bundle-command.js';
import { runProgram } from '../../../../fixtures/run-program.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';

const folder = temporaryFolder();
const programFolder = temporaryFolder();
let program: string;
beforeAll(async () => void (program = await bundleCommand(programFolder)));

const printPeak =
  'data:text/javascript,process.on("exit", () => console.error(`peak ${process.resourceUsage().maxRSS} kB`))';

/** Runs `alignprop train`. @returns what it prints, and the largest resident size of its process in bytes */
async function train(...args: readonly string[]): Promise<{ stdout: string; peak: number }> {
  const { code, stdout, stderr } = await runProgram(program, ['train', ...args.flatMap((words) => words.split(' '))], {
    cwd: folder,
    isBundled: true,
    nodeArguments: ['--import', printPeak],
    env: { DEBUG: '' },
  });
  expect({ code, stderr }).toMatchObject({ code: 0 });
  return { stdout, peak: 1024 * Number(/peak (\d+) kB/.exec(stderr)![1]) };
}

interface Report {
  config: Record<string, unknown>;
  sources: Record<string, string>;
  unet_calls_per_epoch: object;
  attach_probabilities: number[];
  most_attached: number;
  effective_batch: number;
  trainable_parameters: number;
  writes: string[];
  memory: { total: number; free: number } & Record<string, number>;
}

describe('alignprop train --dry-run', () => {
  // A folder with a name of one letter, which once let the run hang.
  const short = '--num-epochs 2 --sample-num-steps 2 --prompt crab --output-dir o';

  it.each([
    ['onnxruntime', '--train-batch-size 6 --estimator full --threads 2'],
    ['tfjs', '--train-batch-size 3 --estimator draft-k --engine tfjs'],
  ])('estimates the peak memory on %s within 20 % of the measured one', async (_, args) => {
    const report = JSON.parse((await train(short, args, '--dry-run --json --quiet')).stdout) as Report;
    expect(readdirSync(folder)).toEqual([]);
    const { peak } = await train(short, args, '--quiet');
    rmSync(join(folder, 'o'), { recursive: true });
    const { total, free, at, ...parts } = report.memory;
    expect(total / peak, JSON.stringify({ peak, ...report.memory })).toBeGreaterThan(0.8);
    expect(total / peak, JSON.stringify({ peak, ...report.memory })).toBeLessThan(1.2);
    expect(Object.values(parts).reduce((sum, bytes) => sum + bytes, 0)).toBeCloseTo(total, 0);
    expect([typeof at, free > 0]).toEqual(['string', true]);
  });

  it('counts the images and calls of DDPO, and asks no service', async () => {
    const batches = '--sample-batch-size 4 --train-batch-size 2 --reward exec:false --output-dir a --use-lora false';
    const line = `--algorithm ddpo --sample-num-steps 10 --num-epochs 3 ${batches} --dry-run`;
    const report = JSON.parse((await train(line, '--json --quiet')).stdout) as Report;
    expect(report).toMatchObject({
      images_per_epoch: 8,
      optimizer_steps_per_epoch: 4,
      unet_calls_per_epoch: { sampling: 20, gradient: 40 },
      trainable_parameters: 4_809_188,
      memory: { samples: expect.any(Number) as number },
    });
    expect(report.writes).toContain('a/unet/');
    const { stdout } = await train(line);
    expect(stdout).toMatch(/^Epoch +8 images, drawn 4 at once, 2 times; then 4 optimizer steps$/m);
    expect(stdout).toMatch(
      /^UNet +20 calls an epoch .*, and 40 with a gradient to train on 2 at once\n +60 and 120 in 3 /m,
    );
    expect(readdirSync(folder)).toEqual([]);
  });

  it('describes the run as JSON and as text, and writes nothing', async () => {
    const plan = '--sample-num-steps 4 --truncated-rand-backprop-minmax 0 4 --train-gradient-accumulation-steps 3';
    const { stdout } = await train(short, plan, '--use-lora false --dry-run --quiet --json');
    const report = JSON.parse(stdout) as Report;
    expect(report).toMatchObject({
      effective_batch: 3,
      trainable_parameters: 4_809_188,
      sources: { num_epochs: 'flag' },
      config: { num_epochs: 2, seed: 0 },
    });
    // i + 1 of the cuts 0 to 4 attach step i. A draw that attaches no step, one in 5·5/2·5/3·5/4 ≈ 26, is repeated.
    const accepted = 1 - (4 / 5) * (3 / 5) * (2 / 5) * (1 / 5);
    report.attach_probabilities.forEach((probability, i) =>
      expect(probability).toBeCloseTo((i + 1) / 5 / accepted, 10),
    );
    expect(report.writes).toContain('o/unet/');
    expect(report.memory.optimizer).toBeGreaterThan(4 * 4 * 4_809_188);
    const heldOut = join(programFolder, 'held-out.txt');
    writeFileSync(heldOut, 'a fox');
    const { stdout: words } = await train(
      short,
      '--dry-run --estimator full --max-memory 8GB --train-batch-size 64',
      `--eval-prompts ${heldOut} --eval-reward exec:false`, // the command would fail if it were run
    );
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
  });
});
