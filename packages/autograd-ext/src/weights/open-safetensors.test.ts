import { beforeAll, describe, expect, it } from 'vitest';
import { fixtureJson, fixturePath, fixtureTensors } from '../../../../fixtures/index.js';
import { useBackend } from '../backend.js';
import { directory } from './directory.js';
import { openSafetensors } from './open-safetensors.js';

const cases = Object.entries(fixtureJson<{ 'broken-safetensors': Record<string, { must: string }> }>('files/case.json')['broken-safetensors']);
const source = directory(fixturePath('files/broken-safetensors'));

describe('openSafetensors', () => {
  beforeAll(() => useBackend('cpu'));

  it.each(cases.filter(([, { must }]) => must.startsWith('fail')))('%s fails', async (file) => {
    await expect(openSafetensors(source, file)).rejects.toThrow(new RegExp(`^openSafetensors: '.*${file}' is not a valid safetensors file: .+ .+`));
  });

  it.each(cases.filter(([, { must }]) => !must.startsWith('fail')))('%s loads', async (file) => {
    const { tensors } = await openSafetensors(source, file);
    await Promise.all([...tensors.values()].map((tensor) => tensor.read()));
  });

  it('reads values', async () => {
    const tensors = await fixtureTensors('files/broken-safetensors/ok.safetensors');
    expect(tensors['a']!.arraySync()).toEqual([[0, 1], [2, 3]]);
  });
});
