// Computes in a process of its own: fails when the build left out its program, or what that needs.
import { execFileSync } from 'node:child_process';
import { square, tensor } from '@tensorflow/tfjs-core';
import { OnnxRuntimeEngine, useBackend } from '@alignprop/autograd-ext';

await useBackend('wasm');
const engine = new OnnxRuntimeEngine({ ownProcess: true });
const [squares] = await engine.compile((_, x) => [square(x)])({}, tensor([1, 2, 3]));
const values = squares.dataSync().join();
if (values !== '1,4,9') throw new Error(`squares got ${values}, expected 1,4,9.`);
const processes = execFileSync('ps', ['-A', '-o', 'ppid=,args='], { encoding: 'utf8' }).split('\n');
const isOwn = (line) => line.trim().startsWith(`${process.pid} `) && line.includes('session-host.js');
if (!processes.some(isOwn)) throw new Error('the engine has no process of its own: see dist/session-host.js.');
engine.dispose();
console.log('own process: ok');
