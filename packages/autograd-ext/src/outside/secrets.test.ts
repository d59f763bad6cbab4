import { afterEach, describe, expect, it, vi } from 'vitest';
import { isMasked, maskSecrets, splitCredentials } from './secrets.js';

afterEach(() => vi.unstubAllEnvs());

describe('maskSecrets', () => {
  it.each([
    ['https://me:hunter2@host.org/a?b=1', 'https://<secret>@host.org/a?b=1'],
    ['no answer from http://hunter2@hub:80.', 'no answer from http://<secret>@hub:80.'],
    ['http://h:7860/?write_token=hunter2&x=1', 'http://h:7860/?write_token=<secret>&x=1'],
    ['score.api_key=hunter2', 'score.api_key=<secret>'],
    ['exec:python a.py --password=hunter2', 'exec:python a.py --password=<secret>'],
  ])('masks the secret of %s', (text, expected) => {
    expect(maskSecrets(text)).toBe(expected);
    expect(isMasked(expected)).toBe(true);
  });

  it.each(['a@b.org', 'https://host/@me', 'http://host/a?b=c@d', 'tokens=3', 'a token of love', 'org/name@main', ''])(
    'leaves %j as it is',
    (text) => {
      expect(maskSecrets(text)).toBe(text);
      expect(isMasked(text)).toBe(false);
    },
  );

  it('masks values by their keys, at any depth, and keeps all others', () => {
    const value = { a: [{ write_token: 'hunter2', apiKey: 'hunter2', tokens: 3, password: '' }], seed: 1, lr: null };
    expect(maskSecrets(value)).toEqual({
      a: [{ write_token: '<secret>', apiKey: '<secret>', tokens: 3, password: '' }],
      seed: 1,
      lr: null,
    });
  });

  it('masks the tokens of the environment wherever they stand', () => {
    vi.stubEnv('HF_TOKEN', 'hf_hunter2hunter2\n');
    expect(maskSecrets({ error: ['the server said: hf_hunter2hunter2!'] })).toEqual({
      error: ['the server said: <secret>!'],
    });
  });
});

describe('splitCredentials', () => {
  it.each([
    ['https://me:p%40ss@host/a', 'https://host/a', 'me:p@ss'],
    ['http://me@host', 'http://host', 'me:'],
    ['http://me:50%@host', 'http://host', 'me:50%'],
  ])('takes name and password out of %s', (given, address, credentials) => {
    expect(splitCredentials(given)).toEqual({
      address,
      authorization: `Basic ${Buffer.from(credentials).toString('base64')}`,
    });
  });

  it('leaves an address without them as it is', () => {
    for (const address of ['https://host/a@b', 'host', '']) expect(splitCredentials(address)).toEqual({ address });
  });
});
