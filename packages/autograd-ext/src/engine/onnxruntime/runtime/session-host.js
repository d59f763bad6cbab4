/**
 * The program of a process of its own for sessions, plain JavaScript as node-session.js. session-process.ts starts it
 * and sends the messages.
 */
import { createRequire } from 'node:module';
import { setFlagsFromString } from 'node:v8';
import { Worker } from 'node:worker_threads';
import { collectGarbage, startNodeSession } from './node-session.js';

// Each run collects garbage, and frees it before the next one allocates: a small copy of a result at the end of the
// heap would keep malloc from returning the rest.
setFlagsFromString('--no-concurrent-array-buffer-sweeping');

const sessions = new Map();
const buffers = new Map();
/** The garbage collection that follows when buffers were freed. */
let collection;

/** The answers to messages, by their kind. */
const kinds = {
  async start({ session, graph, options }) {
    const started = await startNodeSession(runtime, graph, options, 0);
    sessions.set(session, started);
    return started.inputNames;
  },
  run({ session, feeds, into, first }) {
    const started = sessions.get(session);
    if (!into.every((id) => buffers.has(id)))
      started.allocateOutputs(first).forEach((buffer, i) => buffers.set(into[i], buffer));
    const values = Object.entries(feeds).map(([name, { buffer, ...value }]) => [
      name,
      buffer === undefined ? value : buffers.get(buffer),
    ]);
    return started.run(
      Object.fromEntries(values),
      into.map((id) => buffers.get(id)),
    );
  },
  free({ buffer }) {
    buffers.delete(buffer);
    collection ??= setImmediate(() => (collectGarbage(), (collection = undefined)));
  },
  async release({ session }) {
    await sessions.get(session).release();
    sessions.delete(session);
  },
};

// The program that started this one decides what signals mean: Ctrl-C reaches both.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => {});
process.on('disconnect', () => process.exit());
const runtime = await load();
process.on('message', async ({ id, kind, ...message }) => {
  try {
    const result = await kinds[kind](message);
    if (id) answer({ id, result });
  } catch (error) {
    answer({ id, error: error.message });
  }
});
endWithParent();
answer({ id: 0 });

/** Sends an answer. Nobody misses one that fails: the program that asked has ended. */
function answer(message) {
  process.send(message, () => {});
}

/** Loads the copy of onnxruntime-node that the program which started this one loaded. */
async function load() {
  const name = 'onnxruntime-node'; // not in the import, so that bundlers leave it to Node
  const found = await import(name).catch(() => createRequire(`${process.cwd()}/package.json`)(name));
  return found.default ?? found;
}

/** Ends the process soon after its parent, also during a run, which keeps the main thread from noticing. */
function endWithParent() {
  const watch = `const parent = process.ppid;
    setInterval(() => process.ppid === parent || process.kill(process.pid, 'SIGKILL'), 500);`;
  new Worker(watch, { eval: true }).unref();
}
