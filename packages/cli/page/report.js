// Draws a report in its page: the content is JSON in the element #content, sections are HTML that is there already.
'use strict';

let content = JSON.parse(document.getElementById('content').textContent);

/** Steps that a point of a curve is averaged over, by the position of the slider. */
const windows = [1, 2, 5, 10, 20, 50, 100];
const colors = 8;
const chartHeight = 230;

const byId = (id) => document.getElementById(id);
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colorOf = (run) => `--run-${run % colors}`;

/** Creates an element with properties and children; texts stay texts. */
function element(tag, properties = {}, ...children) {
  const created = Object.assign(document.createElement(tag), properties);
  created.append(...children);
  return created;
}

/** A number as axes and captions show it. */
function format(value) {
  if (value === null || value === undefined) return '–';
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(2) : `${Number(value.toPrecision(5))}`;
}

const afterSteps = (step) => (step === 1 ? 'after 1 step' : `after ${step} steps`);

/** The colour and the name of a run. */
function runLabel(run, tag = 'span') {
  const key = element('span', { className: 'key' });
  key.style.background = `var(${colorOf(run)})`;
  return element(tag, { className: 'run' }, key, content.runs[run]);
}

// ---- Curves

const hidden = new Set();
/** The drawn charts by the ids of their metrics. */
const drawn = new Map();

function drawCharts() {
  const kept = new Set(content.charts.map(({ id }) => id));
  for (const [id, { box }] of drawn) if (!kept.has(id)) remove(id, box);
  for (const chart of content.charts) {
    const runs = chart.curves.map(({ run }) => run).join();
    const known = drawn.get(chart.id);
    if (known?.runs === runs) update(known, chart);
    else {
      if (known) remove(chart.id, known.box);
      drawn.set(chart.id, { runs, ...create(chart) });
    }
  }
  arrange('main-charts', ({ isMain }) => isMain);
  arrange('more-charts', ({ isMain }) => !isMain);
  byId('more').hidden = content.charts.every(({ isMain }) => isMain);
}

/** Brings boxes into the order of their charts. Moves none where they are in it: a moved one loses the focus. */
function arrange(name, isThere) {
  const boxes = content.charts.filter(isThere).map(({ id }) => drawn.get(id).box);
  if (boxes.some((box, i) => byId(name).children[i] !== box)) byId(name).replaceChildren(...boxes);
}

function remove(id, box) {
  drawn.get(id).observer.disconnect();
  drawn.get(id).plot.destroy();
  box.remove();
  drawn.delete(id);
}

/** Draws the charts anew, for another colour scheme. */
function redrawCharts() {
  for (const [id, { box }] of [...drawn]) remove(id, box);
  drawCharts();
}

function create(chart) {
  const area = element('div', { className: 'plot', tabIndex: 0 });
  area.setAttribute('role', 'group');
  const heading = element('h3', {}, chart.title);
  const box = element('div', { className: 'chart' }, heading, element('p', { className: 'about' }, chart.about), area);
  const { id, isMain } = chart;
  box.dataset.metric = id;
  byId(isMain ? 'main-charts' : 'more-charts').append(box);
  const plot = new uPlot(options(chart, area), joined(chart), area);
  const observer = new ResizeObserver(() => fit(plot, area));
  observer.observe(area);
  area.addEventListener('keydown', (event) => moveCursor(plot, event));
  const legend = area.querySelector('.u-legend');
  // Lets screen readers read out the values that the arrow keys choose.
  area.addEventListener('focus', () => legend.setAttribute('aria-live', 'polite'));
  area.addEventListener('blur', () => {
    legend.removeAttribute('aria-live');
    plot.setCursor({ left: -10, top: -10 });
  });
  const created = { box, area, plot, observer };
  describe(created, chart);
  return created;
}

function fit(plot, area) {
  const width = area.clientWidth;
  if (width > 0 && width !== plot.width) plot.setSize({ width, height: chartHeight });
}

function update(known, chart) {
  const { plot } = known;
  const [before] = plot.data;
  const { min, max } = plot.scales.x;
  const isWhole = min <= before[0] && max >= before.at(-1);
  plot.setData(joined(chart), isWhole);
  if (!isWhole) plot.setScale('x', { min, max }); // the part that the reader has enlarged
  describe(known, chart);
}

/** Says in words what a chart shows. */
function describe({ area }, { title, unit, curves }) {
  const ranges = curves.map(({ run, x, y }) => {
    const values = y.filter((value) => value !== null);
    const range = `from ${format(values[0])} to ${format(values.at(-1))} between steps ${x[0]} and ${x.at(-1)}`;
    return `${content.runs[run]} ${range}`;
  });
  area.setAttribute('aria-label', `${title} (${unit}): ${ranges.join('; ')}. Arrow keys read values.`);
}

function options({ curves, unit }, area) {
  const ink = () => style('--faint');
  const lines = { stroke: () => style('--line'), width: 1 };
  const font = '12px system-ui, sans-serif';
  const axis = { stroke: ink, grid: lines, ticks: lines, font, labelFont: font, labelSize: 18 };
  const values = (_, splits) => splits.map(format);
  const size = (_, texts) => 16 + 7 * Math.max(3, ...(texts ?? []).map((text) => text.length));
  return {
    width: Math.max(area.clientWidth, 200),
    height: chartHeight,
    scales: { x: { time: false, range: (_, min, max) => (min === max ? [min - 1, max + 1] : [min, max]) } },
    cursor: { y: false, sync: { key: 'steps' } },
    axes: [
      { ...axis, label: 'optimizer steps', values, incrs: [1, 2, 5].flatMap(powers), size: 34 },
      { ...axis, label: unit, values, size },
    ],
    series: [
      { label: 'step', value: (_, value) => format(value) },
      ...curves.map(({ run }) => ({
        label: content.runs[run],
        stroke: () => style(colorOf(run)),
        width: 2,
        dash: run < colors ? undefined : [6, 4],
        show: !hidden.has(run),
        points: { fill: () => style('--panel') },
        value: (_, value) => format(value),
      })),
    ],
  };
}

const powers = (digit) => Array.from({ length: 9 }, (_, i) => digit * 10 ** i);

/** The curves of a chart over the steps of all of them. */
function joined({ curves }) {
  const size = windows[byId('smoothing').value];
  return uPlot.join(curves.map(({ x, y }) => [x, averaged(y, size)]));
}

/** The mean of the last `size` values at each value; gaps stay. */
function averaged(values, size) {
  if (size === 1) return values;
  const recent = [];
  return values.map((value) => {
    if (value === null) return null;
    recent.push(value);
    if (recent.length > size) recent.shift();
    return recent.reduce((sum, one) => sum + one, 0) / recent.length;
  });
}

function moveCursor(plot, event) {
  const steps = plot.data[0];
  const { idx } = plot.cursor;
  const targets = {
    ArrowLeft: Math.max(0, (idx ?? steps.length) - 1),
    ArrowRight: Math.min(steps.length - 1, (idx ?? -1) + 1),
    Home: 0,
    End: steps.length - 1,
  };
  if (!Object.hasOwn(targets, event.key)) return;
  event.preventDefault();
  plot.setCursor({ left: plot.valToPos(steps[targets[event.key]], 'x'), top: 10 });
}

/** The names of the runs, as boxes that show and hide their curves. */
function drawRuns() {
  if (content.runs.length < 2) return;
  const boxes = content.runs.map((_, run) => {
    const box = element('input', { type: 'checkbox', checked: true });
    box.addEventListener('change', () => {
      if (box.checked) hidden.delete(run);
      else hidden.add(run);
      for (const { id, curves } of content.charts) {
        const at = curves.findIndex((curve) => curve.run === run);
        if (at >= 0) drawn.get(id).plot.setSeries(at + 1, { show: box.checked });
      }
    });
    const label = runLabel(run, 'label');
    label.prepend(box);
    return label;
  });
  byId('runs').replaceChildren(...boxes);
}

// ---- Pictures

let pictures = '';

/** The positions of sliders that the reader has moved, as steps by title. */
const positions = new Map();

function drawPictures() {
  const { compared, series } = content;
  const text = JSON.stringify([compared, series]);
  if (text === pictures) return;
  pictures = text;
  byId('pictures').replaceChildren(...compared.flatMap(comparison), ...series.flatMap(overTime));
}

function picture({ src, height, width, prompt }, alt = prompt) {
  return element('img', { src, height, width, alt, title: prompt, decoding: 'sync' });
}

const rewardText = (reward) => (reward === null ? '' : `reward ${format(reward)}`);

function comparison({ run, labels, pairs }) {
  const side = (image, label) =>
    element(
      'div',
      {},
      picture(image, `${image.prompt}, ${label}`),
      element('div', {}, label),
      rewardText(image.reward),
    );
  const figures = pairs.map((pair) => {
    const both = element('div', { className: 'pair' }, ...pair.map((image, i) => side(image, labels[i])));
    return element('figure', {}, both, element('figcaption', { title: pair[0].prompt }, pair[0].prompt));
  });
  const mean = (i) => {
    const rewards = pairs.map((pair) => pair[i].reward).filter((reward) => reward !== null);
    return rewards.length > 0 ? rewards.reduce((sum, one) => sum + one, 0) / rewards.length : null;
  };
  const means = `Mean reward of these: ${format(mean(0))} ${labels[0]}, ${format(mean(1))} ${labels[1]}.`;
  return [
    element('h2', {}, 'Before and after'),
    ...(content.runs.length > 1 ? [runLabel(run, 'h3')] : []),
    ...(mean(0) === null ? [] : [element('p', { className: 'about' }, means)]),
    element('div', { className: 'pairs' }, ...figures),
  ];
}

function overTime({ title, about, runs }) {
  const steps = [...new Set(runs.flatMap(({ shown }) => shown.map(({ step }) => step)))].sort((a, b) => a - b);
  const frames = element('div');
  const output = element('output');
  const chosen = positions.has(title) ? steps.findLastIndex((step) => step <= positions.get(title)) : steps.length - 1;
  const slider = element('input', { type: 'range', min: 0, max: steps.length - 1, value: Math.max(0, chosen) });
  slider.setAttribute('aria-label', `Step of: ${title}`);
  const show = () => {
    const step = steps[slider.value];
    output.textContent = afterSteps(step);
    slider.setAttribute('aria-valuetext', afterSteps(step));
    frames.replaceChildren(...runs.flatMap((run) => frame(run, step)));
  };
  slider.addEventListener('input', () => {
    if (Number(slider.value) === steps.length - 1) positions.delete(title);
    else positions.set(title, steps[slider.value]);
    show();
  });
  show();
  const control = element('div', { className: 'slider', hidden: steps.length < 2 }, slider, output);
  return [element('h2', {}, title), element('p', { className: 'about' }, about), control, frames];
}

/** The pictures of a run at a step, or at the last one before it that has some. */
function frame({ run, shown }, step) {
  const at = shown.findLast((one) => one.step <= step) ?? shown[0];
  const figures = at.images.map((image) => {
    const caption = element('figcaption', { title: image.prompt }, image.prompt);
    return element('figure', {}, picture(image), caption, element('figcaption', {}, rewardText(image.reward)));
  });
  const label = runLabel(run, 'h3');
  if (at.step !== step) label.append(` (${afterSteps(at.step)})`);
  return [...(content.runs.length > 1 ? [label] : []), element('div', { className: 'pictures' }, ...figures)];
}

// ---- Updates, where a server serves the page

const interval = 2000;

async function listen() {
  try {
    const response = await fetch(`report.json?since=${content.live.version}`, { cache: 'no-store' });
    if (response.status === 200) show(await response.json());
    else if (response.status !== 204) throw new Error(await response.text());
    byId('live').classList.remove('warning');
  } catch (error) {
    const reason = error instanceof TypeError ? 'The server has ended.' : error.message;
    byId('live').textContent = `${reason} This page shows what it has got so far.`;
    byId('live').classList.add('warning');
  }
  setTimeout(() => void listen(), interval);
}

/** Shows newer content in place of the older; sections that are the same stay as they are. */
function show(newer) {
  const { sections } = newer;
  for (const [id, text] of Object.entries(sections)) if (text !== content.sections?.[id]) byId(id).innerHTML = text;
  content = newer;
  drawCharts();
  drawPictures();
  byId('live').textContent = `Updated at ${new Date().toLocaleTimeString()} while the run goes on.`;
}

function showWindow() {
  const size = windows[byId('smoothing').value];
  byId('window').textContent = size === 1 ? '1 step' : `${size} steps`;
}

byId('smoothing').addEventListener('input', () => {
  showWindow();
  drawCharts();
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redrawCharts);
showWindow();
drawRuns();
drawCharts();
drawPictures();
if (content.live) {
  byId('live').textContent = 'This page updates itself while the run goes on.';
  void listen();
}
document.documentElement.dataset.drawn = 'true';
