import { appendFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { captureOutput } from '../../../../fixtures/capture-output.js';
import { writeReportRun, type ReportRunOptions } from '../../../../fixtures/report-run.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { run } from '../program.js';
import type { ReportContent } from '../report/content.js';

const printed = captureOutput();
const folder = temporaryFolder();
let count = 0;

/** Writes a run into a new folder. */
function newRun(options: ReportRunOptions = {}): string {
  const path = join(folder, `run-${++count}`);
  writeReportRun(path, options);
  return path;
}

/** Reports runs, and returns the page with its content. */
async function reported(folders: readonly string[], ...flags: string[]): Promise<ReportContent & { page: string }> {
  const path = join(folder, `${++count}.html`);
  expect(await run(['report', ...folders, '-o', path, ...flags])).toBe(0);
  const page = readFileSync(path, 'utf8');
  const [, json] = /<script id="content" type="application\/json">(.*?)<\/script>/s.exec(page)!;
  return { page, ...(JSON.parse(json!) as ReportContent) };
}

/** The texts of the rows of a page's tables, by their heads. */
const rowsOf = (page: string): Record<string, string[]> =>
  Object.fromEntries(
    [...page.matchAll(/<th scope="row">(.*?)<\/th>(.*?)<\/tr>/gs)].map(([, head, cells]) => [
      head!,
      [...cells!.matchAll(/<td>(.*?)<\/td>/gs)].map(([, text]) => text!),
    ]),
  );
const warningsOf = (page: string): string =>
  /<section id="warnings">(.*?)<\/section>/s
    .exec(page)![1]!
    .replace(/<[^>]+>/g, '')
    .replace(/\s+/g, ' ');

describe('alignprop report', () => {
  it('writes report.html into the folder, a page that loads nothing', async () => {
    const path = newRun();
    expect(await run(['report', path])).toBe(0);
    expect(printed.stdout).toMatch(/^Report {3}.*report\.html \(\d+\.\d MB\)\n$/);
    const page = readFileSync(join(path, 'report.html'), 'utf8');
    expect(page).toMatch(/^<!doctype html>/);
    expect(page).toContain('default-src &#39;none&#39;');
    expect(page).not.toMatch(/(?:src|href)="(?!data:)|@import|url\((?!data:)/);
  });

  it('has the curves of all metrics, the first ones in front', async () => {
    const { charts } = await reported([newRun()]);
    expect(charts.filter(({ isMain }) => isMain).map(({ id }) => id)).toEqual([
      ...['reward_mean', 'eval_reward_mean', 'reward/jpeg-compressibility', 'eval_diversity', 'loss', 'grad_norm'],
    ]);
    expect(charts.find(({ id }) => id === 'eval_reward_mean')!.curves).toEqual([
      { run: 0, x: [0, 5, 10], y: [-3, -2.5, -2] },
    ]);
    expect(charts.every(({ title, unit, about }) => title && unit && about)).toBe(true);
  });

  it('has the pictures of each step, and before and after, with their prompts and rewards', async () => {
    const { series, compared } = await reported([newRun({ prompts: ['a\ncrab', 'tea (reward 3)'] })]);
    const [heldOut, training] = series.map(({ runs }) => runs[0]!.shown);
    expect(heldOut!.map(({ step }) => step)).toEqual([0, 5, 10]);
    expect(training).toHaveLength(10);
    expect(heldOut![1]!.images).toMatchObject([
      { prompt: 'a\ncrab', reward: -2.5, height: 32, width: 32 },
      { prompt: 'tea (reward 3)', reward: -2.5 },
    ]);
    expect(compared).toMatchObject([{ labels: ['before training', 'after training'] }]);
    expect(compared[0]!.pairs.map((pair) => pair.map(({ reward }) => reward))).toEqual([
      [-3, -2],
      [-3, -2],
    ]);
  });

  it('compares the first and the last evaluation of a run that has not ended', async () => {
    const path = newRun();
    rmSync(join(path, 'before-after.png'));
    rmSync(join(path, 'pytorch_lora_weights.safetensors'));
    const { page, compared } = await reported([path]);
    expect(compared).toMatchObject([{ labels: ['before training', 'after 10 steps'] }]);
    expect(warningsOf(page)).toContain('The run stopped before its end.');
  });

  it('leaves out steps beyond --max-images evenly, and says how many', async () => {
    const path = newRun();
    const { page, series, compared } = await reported([path], '--max-images', '6');
    expect(series[1]!.runs[0]!.shown.map(({ step }) => step)).toEqual([0, 5, 9]);
    expect(warningsOf(page)).toContain(
      'Pictures of 7 of 10 steps of samples/ are left out. --max-images 20 shows all.',
    );
    expect(compared[0]!.pairs).toHaveLength(2);
    const without = await reported([path], '--max-images', '0');
    expect([without.series, without.compared, warningsOf(without.page).trim()]).toEqual([[], [], '']);
  });

  it('shows texts as texts, whatever is in them', async () => {
    const prompt = '</script><img src=x onerror=alert(1)> & "é"';
    const { page, series } = await reported([newRun({ prompts: [prompt], options: { prompt: [prompt] } })]);
    expect(series[0]!.runs[0]!.shown[0]!.images[0]!.prompt).toBe(prompt);
    expect(page).not.toContain('<img');
    expect(page.match(/<\/script>/g)).toHaveLength(3);
    expect(page).toContain('&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt; &amp; &quot;é&quot;');
  });

  it('takes torn and damaged lines, values that are no numbers, and damaged pictures', async () => {
    const path = newRun({ steps: 3 });
    const line = { epoch: 3, global_step: 3, reward_mean: null, loss: 1 };
    appendFileSync(join(path, 'metrics.jsonl'), `no JSON\n${JSON.stringify(line)}\n{"epoch": 4, "glo`);
    writeFileSync(join(path, 'samples/step_000001.png'), 'no PNG');
    writeFileSync(join(path, 'before-after.png'), 'no PNG');
    const { page, charts, series } = await reported([path]);
    expect(charts.find(({ id }) => id === 'reward_mean')!.curves[0]!.y).toEqual([-3, -2.9, -2.8, null]);
    expect(series[1]!.runs[0]!.shown.map(({ step }) => step)).toEqual([0, 2]);
    for (const warning of [
      'Lines that cannot be read are left out: metrics.jsonl, line 4.',
      'reward_mean was not a finite number after steps 3.',
      'Pictures that cannot be read are left out: samples/step_000001.png, before-after.png.',
    ])
      expect(warningsOf(page)).toContain(warning);
  });

  it('reports a run that has only begun, without metrics and pictures', async () => {
    const path = newRun();
    for (const name of ['metrics.jsonl', 'evaluations.jsonl', 'samples', 'evaluations', 'before-after.png'])
      rmSync(join(path, name), { recursive: true });
    mkdirSync(join(path, 'run.lock'));
    const { page, charts, series } = await reported([path]);
    expect([charts, series]).toEqual([[], []]);
    expect(warningsOf(page)).toContain('No step is recorded yet.');
    expect(rowsOf(page)).toMatchObject({ State: ['going on, or killed'], Epochs: ['0 of 10'] });
  });

  it('reports a run of DDPO', async () => {
    const { page, charts } = await reported([newRun({ algorithm: 'ddpo' })]);
    expect(charts.map(({ id }) => id)).toEqual(expect.arrayContaining(['approx_kl', 'clipfrac']));
    expect(rowsOf(page)).toMatchObject({ Algorithm: ['DDPO'] });
  });

  it('warns of a reward that fell after its best, and of pictures that became alike', async () => {
    const path = newRun();
    const records = [
      { global_step: 0, eval_reward_mean: 1, eval_diversity: 0.1, eval_best_step: 0 },
      { global_step: 5, eval_reward_mean: 3, eval_diversity: 0.08, eval_best_step: 5 },
      { global_step: 10, eval_reward_mean: 2, eval_diversity: 0.04, eval_best_step: 5 },
    ];
    writeFileSync(join(path, 'evaluations.jsonl'), records.map((record) => `${JSON.stringify(record)}\n`).join(''));
    const { page } = await reported([path]);
    expect(warningsOf(page)).toContain('The held-out reward was best after 5 steps');
    expect(warningsOf(page)).toContain('less than half of what it was');
    expect(rowsOf(page)['Best held-out reward']).toEqual(['3 after 5 steps']);
  });
});

describe('alignprop report of several runs', () => {
  it('draws them in the same charts, and names what differs', async () => {
    const [first, second] = [newRun(), newRun({ reward: -2, config: { seed: 9 }, options: { model: 'org/name' } })];
    const { page, charts, runs, series } = await reported([first!, second!]);
    expect(runs).toEqual([first, second].map((path) => path!.slice(folder.length + 1)));
    expect(charts.find(({ id }) => id === 'loss')!.curves.map(({ run: index }) => index)).toEqual([0, 1]);
    expect(series[0]!.runs.map(({ run: index }) => index)).toEqual([0, 1]);
    const [, differences] = /<h3>Differences<\/h3>(.*?)<h3>/s.exec(page)!;
    expect(rowsOf(differences!)).toEqual({ seed: ['0', '9'], '--model': ['', 'org/name'] });
  });

  it('names folders of one name by their paths, and refuses one twice', async () => {
    const paths = ['a/out', 'b/out'].map((name) => join(folder, name));
    for (const path of paths) writeReportRun(path);
    expect((await reported(paths)).runs).toEqual(paths);
    expect(await run(['report', paths[0]!, `${paths[0]!}/`])).toBe(2);
    expect(printed.stderr).toContain('twice, expected it once.');
  });
});

describe('alignprop report refuses', () => {
  it('folders that are no runs, with exit code 2', async () => {
    for (const path of [folder, join(folder, 'none')]) {
      expect(await run(['report', path])).toBe(2);
      expect(printed.stderr).toMatch(/error: report: got '.*', expected the folder of a run, with run\.json\. Check/);
    }
  });

  it('other names of files, and places that cannot be written', async () => {
    const path = newRun();
    expect(await run(['report', path, '-o', 'report.png'])).toBe(2);
    expect(printed.stderr).toContain("--output: got 'report.png', expected a name that ends in .html.");
    expect(await run(['report', path, '-o', join(path, 'run.json/report.html')])).toBe(1);
    expect(printed.stderr).toMatch(/error: output: cannot write to '.*': .* Choose another file\./);
  });

  it('a damaged manifest', async () => {
    const path = newRun();
    writeFileSync(join(path, 'run.json'), '{');
    expect(await run(['report', path])).toBe(1);
    expect(printed.stderr).toContain('is not the manifest of a run');
  });
});
