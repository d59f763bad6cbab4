import { memory } from '@alignprop/autograd-ext/weights';
import { expect, it } from 'vitest';
import { splitLocation } from './split-location.js';

it.each([
  ['org/name', { source: 'org/name' }],
  ['org/name/model.pt', { source: 'org/name', file: 'model.pt' }],
  ['./a.b/HPS_v2.1_compressed.pt', { source: './a.b', file: 'HPS_v2.1_compressed.pt' }],
  ['C:\\heads\\sac+logos.pth', { source: 'C:\\heads', file: 'sac+logos.pth' }],
  ['model.safetensors', { source: '.', file: 'model.safetensors' }],
  ['/model.bin', { source: '/', file: 'model.bin' }],
])('splitLocation splits %s', (location, expected) => expect(splitLocation(location)).toEqual(expected));

it('splitLocation returns file sources unchanged', () => {
  const source = memory({});
  expect(splitLocation(source)).toEqual({ source });
});
