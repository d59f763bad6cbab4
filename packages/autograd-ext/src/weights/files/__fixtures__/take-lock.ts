// Takes the lock named by its argument and prints how that went, as a line of JSON. If it has the lock, it keeps it and
// obeys lines on stdin: `block` blocks the event loop for 11 s, `held` prints whether it has the lock, `end` releases.
import { createInterface } from 'node:readline';
import { takeProcessLock } from '../process-lock.js';

const print = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`);
let stale: unknown;
const result = await takeProcessLock(process.argv[2]!, {
  onStale: (owner, silence) => (stale = { pid: owner.pid, silence }),
});
if ('holder' in result) print(result.holder);
else {
  print({ lock: result.lock.previousMayWake ? 'previous may wake' : 'taken', stale });
  for await (const line of createInterface(process.stdin)) {
    if (line === 'block') {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 11_000);
      print('unblocked');
    } else if (line === 'held') print(await result.lock.isHeld());
    else await result.lock.release();
    if (line === 'end') process.stdin.destroy(); // nothing else keeps the process
  }
}
