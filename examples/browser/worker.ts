// Runs in a worker, so that the page stays responsive: works on the tasks that the page sends.
import { Model } from './model.js';
import type { Outcome, Report, Task } from './messages.js';
import { describeFailure } from './reward-text.js';

let model: Model | undefined;
let stopping = new AbortController();

const send = (message: Report | Outcome): void => postMessage(message);

addEventListener('message', ({ data }: MessageEvent<Task | 'stop'>) => {
  if (data === 'stop') stopping.abort();
  else void work(data);
});

async function work(task: Task): Promise<void> {
  stopping = new AbortController();
  try {
    send({ kind: 'done', result: await resultOf(task, stopping.signal) });
  } catch (error) {
    if (error === stopping.signal.reason) send({ kind: 'done', result: undefined });
    else send({ kind: 'failed', ...(await describeFailure(error, task.kind === 'train' ? task.reward : undefined)) });
  }
}

async function resultOf(task: Task, signal: AbortSignal): Promise<(Outcome & { kind: 'done' })['result']> {
  if (task.kind === 'open') {
    model = await Model.open(task, (bytes, total) => send({ kind: 'loaded', bytes, total }));
    return model.facts;
  }
  if (task.kind === 'draw') return model!.draw(task, task.adapter, signal);
  return model!.train(task, task.adapter, send, signal).then(() => undefined);
}
