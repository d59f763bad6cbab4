import { writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fill, type Tensor4D } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '@alignprop/autograd-ext';
import { decodePng } from '@alignprop/diffusion';
import { RewardScorer } from '@alignprop/rewards/interface';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { blackBoxTerms } from './reward-terms.js';

const folder = temporaryFolder();
const quick = ['service.timeout=5', 'service.retries=1'];

beforeAll(() => useBackend('cpu'));

/** Scores two images with a term, and checks that the scores or the error is as expected. */
async function expectScores(term: string, expected: readonly number[] | RegExp, options = quick): Promise<void> {
  const images = fill([2, 4, 6, 3], 0.2) as Tensor4D;
  const reward = await blackBoxTerms([term], options).load();
  const scored = new RewardScorer(reward)
    .score(images, ['a', 'crab'], [undefined, { n: 1 }], { step: 3, epoch: 2 })
    .finally(() => images.dispose());
  if (expected instanceof RegExp) await expect(scored).rejects.toThrow(expected);
  else expect((await scored).scores).toEqual(expected);
}

interface Request {
  version: number;
  images: string[];
  prompts: string[];
  metadata: unknown[];
  step: number;
  epoch: number;
}

describe('a reward by HTTP', () => {
  const requests: { body: Request; headers: IncomingMessage['headers'] }[] = [];
  let failures = 0;
  const answers: Readonly<Record<string, (response: ServerResponse, request: Request) => void>> = {
    '/lengths': (response, { prompts }) => response.end(JSON.stringify({ scores: prompts.map((p) => p.length), x: 1 })),
    '/list': (response) => response.end('[0.5, 0.25]'),
    '/busy-once': (response) => (failures++ === 0 ? response.writeHead(503).end('busy') : response.end('[1, 2]')),
    '/busy': (response) => response.writeHead(429, { 'retry-after': '0' }).end('busy'),
    '/refused': (response) => response.writeHead(401).end('no token'),
    '/html': (response) => response.end('<html>'),
    '/object': (response) => response.end('{"score": 1}'),
    '/error': (response) => response.end('{"error": "no face found"}'),
    '/one': (response) => response.end('[1]'),
    '/strings': (response) => response.end('{"scores": ["1", "2"]}'),
    '/silent': () => {},
  };
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = JSON.parse(Buffer.concat(chunks).toString()) as Request;
      requests.push({ body, headers: request.headers });
      answers[request.url!]!(response, body);
    });
  });
  let address = '';
  beforeAll(async () => {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });

  it('sends the batch as JSON and reads the scores', async () => {
    process.env.ALIGNPROP_REWARD_TOKEN = 'secret';
    await expectScores(`${address}/lengths`, [1, 4]);
    delete process.env.ALIGNPROP_REWARD_TOKEN;
    const { body, headers } = requests.at(-1)!;
    const { images, ...rest } = body;
    expect(rest).toEqual({ version: 1, prompts: ['a', 'crab'], metadata: [null, { n: 1 }], step: 3, epoch: 2 });
    const png = decodePng(Buffer.from(images[1]!, 'base64'));
    expect([images.length, png.height, png.width, png.data[0]]).toEqual([2, 4, 6, 51]);
    expect([headers['content-type'], headers.authorization]).toEqual(['application/json', 'Bearer secret']);
  });

  const cases: readonly (readonly [path: string, expected: number[] | RegExp])[] = [
    ['/list', [0.5, 0.25]],
    ['/lengths:2:cap=3', [2, 6]],
    ['/busy-once', [1, 2]],
    ['/busy', /\/busy': answered HTTP 429: busy \(2 attempts\)/],
    ['/refused', /\/refused': answered HTTP 401: no token$/],
    ['/html', /answered '<html>', expected JSON such as/],
    ['/object', /answered an object with the keys score, expected \{"scores"/],
    ['/error', /answered with the error "no face found"/],
    ['/one', /\/one': returned an array of 1 number \[1\], expected a tensor \[2\] or 2 numbers/],
    ['/strings', /returned an array of 2 strings/],
  ];
  it.each(cases)('at %s gives the scores or says what is wrong', (path, expected) =>
    expectScores(`${address}${path}`, expected),
  );

  it('does not wait longer than its timeout, nor for a server that is not there', async () => {
    const options = ['service.timeout=0.2', 'service.retries=0'];
    await expectScores(`${address}/silent`, /did not answer within 0\.2 s\. \(1 attempts?\)/, options);
    await expectScores('http://127.0.0.1:1/x', /cannot be reached: .* \(1 attempts?\)/, options);
  });
});

describe('a reward by a command', () => {
  const program = (name: string, body: string): string => {
    writeFileSync(join(folder, name), `import { createInterface } from 'node:readline';\n${body}`);
    return `exec:"${process.execPath}" "${join(folder, name)}"`;
  };
  const loop = (body: string) =>
    `for await (const line of createInterface({ input: process.stdin })) { const request = JSON.parse(line); ${body} }`;
  const answer = 'console.log(JSON.stringify({ scores: request.prompts.map((p) => p.length) }));';

  const cases: readonly (readonly [name: string, body: string, expected: number[] | RegExp])[] = [
    ['answers', `console.log('Loading the model');\n${loop(answer)}`, [1, 4]],
    ['answers-once', loop(`${answer} process.exit(0);`), [1, 4]],
    [
      'ends',
      "console.error('no module named torch'); process.exit(3);",
      /exit code 3\. Its stderr: no module named torch/,
    ],
    ['has-an-error', loop(`console.log('{"error": "broken"}');`), /answered with the error "broken"/],
    ['counts-wrong', loop(`console.log('[1]');`), /returned an array of 1 number/],
  ];
  it.each(cases)('that %s gives the scores or says what is wrong', async (name, body, expected) => {
    const term = program(`${name}.mjs`, body);
    await expectScores(term, expected);
    await expectScores(`${term}:1`, expected);
  });

  it('is killed when it does not answer in time', () =>
    expectScores(program('silent.mjs', loop('')), /it wrote no line within 0\.5 s.*flush stdout/, [
      'service.timeout=0.5',
      'service.retries=0',
    ]));

  it('is asked again without a new start', async () => {
    const term = program('counts.mjs', `let calls = 0; ${loop('console.log(`[${++calls}, 0]`);')}`);
    const reward = await blackBoxTerms([term], quick).load();
    const images = fill([2, 4, 6, 3], 0.2) as Tensor4D;
    const ask = () => new RewardScorer(reward).score(images, ['a', 'b'], [null, null]);
    const answers = await Promise.all([ask(), ask(), ask()]);
    expect(answers.map(({ scores }) => scores[0])).toEqual([1, 2, 3]);
    images.dispose();
  });

  it.each<[string[], RegExp]>([
    [['service.timeout=soon'], /service\.timeout got 'soon', expected seconds above 0/],
    [['service.retries=-1'], /service\.retries got '-1', expected an integer from 0/],
    [['service.speed=1'], /got 'service\.speed', expected service\.timeout, service\.retries/],
  ])('refuses the options %j', (options, message) => {
    expect(() => blackBoxTerms(['exec:true'], options)).toThrow(message);
  });
});
