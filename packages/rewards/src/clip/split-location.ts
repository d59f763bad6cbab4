import type { FileSource } from '@alignprop/autograd-ext/weights';

/** A location that may end in a file of weights, `organisation/name/model.pt`, as the place it lies in and its name. */
export function splitLocation(location: string | FileSource): { source: string | FileSource; file?: string } {
  const found =
    typeof location === 'string' ? /^(?:(.*)[\\/])?([^\\/]+\.(?:safetensors|pth?|bin|ckpt))$/.exec(location) : null;
  return found ? { source: found[1] === '' ? '/' : (found[1] ?? '.'), file: found[2] } : { source: location };
}
