import type { FileSource } from '@alignprop/autograd-ext/weights';

/** Splits a location such as `organisation/name/model.pt` into the folder or hub id and the weight file, if any. */
export function splitLocation(location: string | FileSource): { source: string | FileSource; file?: string } {
  const found =
    typeof location === 'string' ? /^(?:(.*)[\\/])?([^\\/]+\.(?:safetensors|pth?|bin|ckpt))$/.exec(location) : null;
  return found ? { source: found[1] === '' ? '/' : (found[1] ?? '.'), file: found[2] } : { source: location };
}
