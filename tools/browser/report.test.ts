// Opens the pages of `alignprop report` and `alignprop watch` in a real browser.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { bundleCommand } from '../../fixtures/bundle-command.js';
import { writeReportRun } from '../../fixtures/report-run.js';
import { runProgram } from '../../fixtures/run-program.js';
import { temporaryFolder } from '../../fixtures/temporary-folder.js';
import { findChromium } from './chromium.js';
import { DrivenPage } from './driven-page.js';

const chromium = findChromium();
const folder = temporaryFolder();
const programFolder = temporaryFolder();
const [one, two] = [join(folder, 'one'), join(folder, 'two')];
const hostile = '</script><b onclick=alert(1)>crab</b>';
let program: string;

beforeAll(async () => {
  writeReportRun(one, { prompts: ['crab', hostile] });
  writeReportRun(two, { reward: -2, steps: 20 });
  program = await bundleCommand(programFolder);
});

/** The number of charts whose canvas has pixels of the colour of a run's curve. */
const chartsWith = (run: number): string => `(() => {
  const probe = document.createElement('canvas').getContext('2d');
  probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue('--run-${run}');
  probe.fillRect(0, 0, 1, 1);
  const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
  return [...document.querySelectorAll('#main-charts canvas')].filter((canvas) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    for (let i = 0; i < data.length; i += 4)
      if (data[i] === r && data[i + 1] === g && data[i + 2] === b && data[i + 3] === 255) return true;
    return false;
  }).length;
})()`;
const shownPictures = `[...document.images].filter((image) => image.complete && image.naturalWidth === 32).length`;
const isWide = 'document.documentElement.scrollWidth > document.documentElement.clientWidth';

/** Opens a report of runs, written by the command. */
async function open(page: DrivenPage, ...folders: string[]): Promise<void> {
  const path = join(folder, 'report.html');
  const { code, stderr } = await runProgram(program, ['report', ...folders, '-o', path], { isBundled: true });
  expect([code, stderr]).toEqual([0, '']);
  await page.send('Page.navigate', { url: pathToFileURL(path).href });
  await page.waitFor("document.documentElement?.dataset.drawn === 'true'");
}

describe.skipIf(!chromium)('the page of a report', () => {
  it('draws its curves and pictures in both colour schemes, on a screen and on a phone, without an error', async () => {
    await DrivenPage.open(chromium!, async (page) => {
      for (const isDark of [false, true])
        for (const width of [1200, 390]) {
          await page.show({ width, isDark });
          await open(page, one);
          expect(await page.evaluate(chartsWith(0))).toBe(6);
          await page.waitFor(`${shownPictures} === 8`);
          expect(await page.evaluate(isWide)).toBe(false);
        }
      expect(page.errors).toEqual([]);
    });
  });

  it('shows prompts as texts, and the pictures of the step that is chosen by the keyboard', async () => {
    await DrivenPage.open(chromium!, async (page) => {
      await page.show({ width: 1200 });
      await open(page, one);
      expect(await page.evaluate("document.querySelectorAll('b').length")).toBe(0);
      expect(await page.evaluate('document.body.innerText')).toContain(hostile);
      const sliders = "document.querySelectorAll('#pictures input')";
      const first = "document.querySelector('#pictures .pictures img').src";
      const before = await page.evaluate(first);
      await page.evaluate(`${sliders}[0].focus()`);
      await page.press('ArrowLeft', 37);
      expect(await page.evaluate("document.querySelector('#pictures output').textContent")).toBe('after 5 steps');
      expect(await page.evaluate(first)).not.toBe(before);
      await page.evaluate("document.querySelector('[data-metric=reward_mean] .plot').focus()");
      await page.press('ArrowRight', 39);
      const legend = "document.querySelector('[data-metric=reward_mean] .u-legend').innerText";
      expect(await page.evaluate(legend)).toMatch(/step:?\s*0\s*one:?\s*-3/);
      expect(page.errors).toEqual([]);
    });
  });

  it('compares runs in the same charts, and hides one', async () => {
    await DrivenPage.open(chromium!, async (page) => {
      await page.show({ width: 390 });
      await open(page, one, two);
      expect([await page.evaluate(chartsWith(0)), await page.evaluate(chartsWith(1))]).toEqual([6, 6]);
      await page.evaluate("document.querySelectorAll('#runs input')[1].click()");
      await page.waitFor(`${chartsWith(1)} === 0`);
      expect(await page.evaluate(isWide)).toBe(false);
      expect(page.errors).toEqual([]);
    });
  });
});

describe.skipIf(!chromium)('the page of a run that is watched', () => {
  it('draws new values and says that it has', async () => {
    const child = spawn(process.execPath, [program, 'watch', one, '--json'], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      const [line] = (await once(child.stdout.setEncoding('utf8'), 'data')) as [string];
      const { url } = JSON.parse(line) as { url: string };
      await DrivenPage.open(chromium!, async (page) => {
        await page.send('Page.navigate', { url });
        await page.waitFor(`${shownPictures} === 8`);
        const label = "document.querySelector('[data-metric=loss] .plot').getAttribute('aria-label')";
        expect(await page.evaluate(label)).toContain('from 3 to 2.1 between steps 0 and 9');
        appendFileSync(join(one, 'metrics.jsonl'), '{"epoch": 10, "global_step": 10, "loss": 1.5}\n');
        await page.waitFor(`${label}.includes('from 3 to 1.5 between steps 0 and 10')`);
        expect(await page.evaluate("document.getElementById('live').textContent")).toMatch(/^Updated at /);
        expect(await page.evaluate(shownPictures)).toBe(8);
        expect(page.errors).toEqual([]);
      });
    } finally {
      child.kill('SIGINT');
    }
    expect(await once(child, 'exit')).toEqual([0, null]);
  });
});
