// Reads files of a repository several times at once. Arguments: endpoint, cache folder, times, paths.
// Prints the sha256 of all of them each time. Starts with a message of the parent, if that has a channel.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { hub } from '../hub.js';

const [endpoint, cacheDir, times, ...paths] = process.argv.slice(2);
if (process.send) await once(process, 'message');

async function load(): Promise<string> {
  const source = hub('org/name', { endpoint, cacheDir, retryDelay: 0.01 });
  const hash = createHash('sha256');
  for (const path of paths) {
    const file = await source.open(path);
    hash.update(await file.read(0, file.size));
    await file.close();
  }
  return hash.digest('hex');
}

const digests = await Promise.all(Array.from({ length: Number(times) }, load));
process.stdout.write(`${digests.join('\n')}\n`);
process.disconnect?.();
