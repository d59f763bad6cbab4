// The page: its controls, and what they ask of the worker.
import type { AdapterFile, Drawing, Picture, Report, Training } from './messages.js';
import { ModelWorker, type TaskError } from './model-worker.js';
import { comparePictures, showPictures } from './pictures.js';
import { drawCurve } from './reward-curve.js';
import { rewardExamples } from './reward-examples.js';
import { defaultSettings, type Settings } from './settings.js';

const find = <E extends HTMLElement>(id: string): E => document.getElementById(id) as E;
const form = find<HTMLFormElement>('run');
const prompts = find<HTMLTextAreaElement>('prompts');
const example = find<HTMLSelectElement>('example');
const reward = find<HTMLTextAreaElement>('reward');
const fault = find('fault');
const steps = find<HTMLInputElement>('steps');
const rate = find<HTMLInputElement>('rate');
const denoising = find<HTMLInputElement>('denoising');
const batch = find<HTMLInputElement>('batch');
const train = find<HTMLButtonElement>('train');
const stop = find<HTMLButtonElement>('stop');
const undo = find<HTMLButtonElement>('undo');
const download = find<HTMLButtonElement>('download');
const choose = find<HTMLButtonElement>('choose');
const file = find<HTMLInputElement>('file');
const status = find('status');
const progress = find<HTMLProgressElement>('progress');
const split = find<HTMLInputElement>('split');
const curve = document.querySelector<SVGElement>('#curve')!;

/** Prompts whose pictures are compared, the first ones. */
const compared = 4;

/** The worker; undefined before the model is opened, and after it was ended. */
let worker: ModelWorker | undefined;
/** The adapters so far, the present one last; without one the model is as it was. */
const adapters: AdapterFile[] = [];
/** The pictures before training, and the prompts and settings that they were drawn for. */
let before: { readonly key: string; readonly pictures: readonly Picture[] } | undefined;
let isStopping = false;
let modelName = '';

/** The prompts. @throws if there is none */
function lines(): string[] {
  const texts = prompts.value.split('\n').map((text) => text.trim());
  const written = texts.filter(Boolean);
  if (written.length > 0) return written;
  throw new Error('There is no prompt. Write one.');
}

const settings = (): Settings => ({
  steps: steps.valueAsNumber,
  learningRate: rate.valueAsNumber,
  denoisingSteps: denoising.valueAsNumber,
  batch: batch.valueAsNumber,
});

/** Runs a task of the worker with the controls locked, and shows how it ends. */
async function busy(words: string, work: () => Promise<string>): Promise<void> {
  setControls(true);
  [status.textContent, isStopping] = [words, false];
  hideFault();
  progress.removeAttribute('value');
  try {
    status.textContent = await work();
  } catch (error) {
    status.textContent = (error as Error).message;
  } finally {
    setControls(false);
  }
}

function setControls(isBusy: boolean): void {
  for (const control of [train, choose, prompts, reward, steps, rate, denoising, batch, example])
    control.disabled = isBusy;
  stop.disabled = !isBusy;
  undo.disabled = download.disabled = isBusy || adapters.length === 0;
  progress.hidden = !isBusy;
}

/** Returns the worker with the model and engine of the address: `?model=organisation/name&engine=tfjs`. */
async function openModel(): Promise<ModelWorker> {
  if (worker) return worker;
  const opening = (worker = new ModelWorker());
  const { model, engine: wanted } = Object.fromEntries(new URLSearchParams(location.search));
  try {
    const { name, engine, remark, denoisingSteps } = await opening.perform(
      { kind: 'open', model, engine: wanted },
      showReport,
    );
    if (denoisingSteps !== undefined) denoising.valueAsNumber = denoisingSteps;
    modelName = `${name} on ${engine}. ${remark}`.trim();
  } catch (error) {
    endWorker();
    throw error;
  }
  return opening;
}

function endWorker(): void {
  worker?.end();
  worker = undefined;
}

/** Draws the pictures that are compared: without an adapter, where the prompts are new, and with the present one. */
async function compare(adapter = adapters.at(-1)): Promise<void> {
  const model = await openModel();
  const drawing: Drawing = { prompts: lines().slice(0, compared), settings: settings() };
  const key = JSON.stringify([drawing.prompts, drawing.settings.denoisingSteps]);
  if (before?.key !== key) {
    const pictures = await model.perform({ kind: 'draw', ...drawing });
    if (pictures) before = { key, pictures };
  }
  if (!before || before.key !== key) return;
  const after = adapter && (await model.perform({ kind: 'draw', ...drawing, adapter }));
  comparePictures(find('comparison'), before.pictures, after);
  find('split-label').hidden = !after;
}

/** Trains, and keeps the adapter of the last complete step however the run ends. */
async function run(): Promise<string> {
  const model = await openModel();
  const training: Training = { prompts: lines(), reward: reward.value, settings: settings() };
  const rewards: number[] = [];
  let latest: AdapterFile | undefined;
  try {
    await model.perform({ kind: 'train', adapter: adapters.at(-1), ...training }, (report) => {
      showReport(report);
      if (report.kind !== 'step') return;
      latest = report.adapter;
      rewards.push(report.metrics.rewardMean);
      drawCurve(curve, rewards);
      status.textContent = describeStep(report, training.settings.steps);
    });
  } catch (error) {
    if (!isStopping) showFault(error as TaskError);
  }
  if (!latest) return 'Nothing was trained.';
  adapters.push(latest);
  const count = `${rewards.length} ${rewards.length === 1 ? 'step' : 'steps'}`;
  const words = `${isStopping ? 'Stopped after' : 'Trained for'} ${count}.`;
  status.textContent = `${words} Drawing…`;
  await compare();
  return words;
}

const describeStep = ({ metrics: { globalStep, rewardMean, seconds } }: Report & { kind: 'step' }, total: number) =>
  `Step ${globalStep + 1} of ${total}: reward ${rewardMean.toFixed(3)}, ${seconds.toFixed(1)} s`;

function showReport(report: Report): void {
  if (report.kind === 'loaded') {
    [progress.max, progress.value] = [report.total || 1, report.bytes];
    const [bytes, total] = [report.bytes, report.total].map((count) => (count / 1e6).toFixed(1));
    status.textContent = `Loading the model: ${bytes} of ${total} MB`;
  } else {
    [progress.max, progress.value] = [steps.valueAsNumber, report.metrics.globalStep + 1];
    showPictures(find('live'), report.pictures);
  }
}

function showFault({ message, line }: TaskError): void {
  fault.textContent = line === undefined ? message : `Line ${line}: ${message}`;
  fault.hidden = false;
  reward.setAttribute('aria-invalid', 'true');
}

function hideFault(): void {
  fault.hidden = true;
  reward.setAttribute('aria-invalid', 'false');
}

/** Stops after the current denoising step; the second time at once, by ending the worker. */
function stopWorker(): void {
  if (isStopping) return endWorker();
  isStopping = true;
  status.textContent = 'Stopping… Press Stop again to stop at once.';
  worker?.stop();
}

async function openAdapter(): Promise<string> {
  const [chosen] = file.files!;
  const adapter = new Uint8Array(await chosen!.arrayBuffer());
  await compare(adapter);
  adapters.push(adapter);
  return `Opened ${chosen!.name}.`;
}

function saveAdapter(): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([adapters.at(-1)!]));
  link.download = 'pytorch_lora_weights.safetensors';
  link.click();
  URL.revokeObjectURL(link.href);
}

async function undoLast(): Promise<string> {
  adapters.pop();
  await compare();
  return adapters.length === 0 ? 'The model is as it was.' : 'The last change is undone.';
}

prompts.value = ['cat face', 'frog', 'rose', 'lemon'].join('\n');
for (const { name } of rewardExamples) example.add(new Option(name));
const fillReward = () => void (reward.value = rewardExamples[example.selectedIndex]!.text);
fillReward();
steps.valueAsNumber = defaultSettings.steps;
rate.valueAsNumber = defaultSettings.learningRate;
denoising.valueAsNumber = defaultSettings.denoisingSteps;
batch.valueAsNumber = defaultSettings.batch;
for (const [name, value] of new URLSearchParams(location.search)) {
  const control = form.elements.namedItem(name); // the address may set any control: ?steps=5
  if (control && 'value' in control) control.value = value;
}

example.addEventListener('change', fillReward);
for (const control of [example, reward]) control.addEventListener('input', hideFault);
split.addEventListener('input', () => find('comparison').style.setProperty('--split', `${split.value}%`));
form.addEventListener('submit', (event) => {
  event.preventDefault();
  void busy('Training…', run);
});
stop.addEventListener('click', stopWorker);
undo.addEventListener('click', () => void busy('Drawing…', undoLast));
download.addEventListener('click', saveAdapter);
choose.addEventListener('click', () => file.click());
file.addEventListener('change', () => void busy('Opening…', openAdapter).then(() => (file.value = '')));

void busy('Loading the model', async () => {
  await compare();
  return `Ready: ${modelName}`;
});
