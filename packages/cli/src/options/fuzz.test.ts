import { describe } from 'vitest';
import { fuzz, fuzzedFile } from '../../../../fixtures/fuzz.js';
import { parseConfigText } from './config-text.js';
import { takeColumns } from './prompt-columns.js';
import { parseEntries } from './prompt-entries.js';
import { parseAnswer } from './reward-protocol.js';
import { decodeText } from './text-file.js';

const prompts: Readonly<Record<string, readonly (string | Uint8Array)[]>> = {
  txt: ['a crab\n# comment\n\na fox, ink\n', Buffer.from('\ufeffa crab\na fox\n', 'utf16le')],
  csv: ['prompt,weight,toString\n"a crab, ""red""",1,x\na fox,2.5,y\n'],
  tsv: ['prompt\tnegative_prompt\na crab\tblurry\na fox\t\n'],
  json: ['[{"prompt": "a crab", "weight": 2, "tags": ["x"]}, {"prompt": "a fox", "weight": 1}]', '["a crab", "a fox"]'],
  jsonl: ['{"prompt": "a crab", "constructor": {"a": 1}}\n{"prompt": "a fox"}\n'],
};

describe('readers of the command line', () => {
  for (const [ending, seeds] of Object.entries(prompts))
    fuzz({
      reader: `prompts in .${ending}`,
      seeds,
      read: (bytes) => {
        const path = `${fuzzedFile}.${ending}`;
        const text = decodeText(bytes, path, '--prompts');
        takeColumns(
          parseEntries(path, text, '--prompts', (header) => header.includes('prompt')),
          '--prompts',
          {},
        );
      },
    });
  fuzz({
    reader: 'configuration files in YAML',
    seeds: ['# a run\nseed: 1\nprompts: [a crab, &f "a fox", *f]\nreward_option:\n  aesthetic: {head: ./a.pth}\n'],
    read: (bytes) => parseConfigText('a.yaml', decodeText(bytes, fuzzedFile, '--config')),
    isNameless: true,
  });
  fuzz({
    reader: 'configuration files in JSON with comments',
    seeds: ['{\n  // a run\n  "seed": 1, "prompts": ["a crab"], /* more */\n  "reward_option": {"a": {"b": 1}},\n}\n'],
    read: (bytes) => parseConfigText('a.json', decodeText(bytes, fuzzedFile, '--config')),
    isNameless: true,
  });
  fuzz({
    reader: 'answers of reward services',
    seeds: ['{"scores": [0.5, 1, -2e3]}', '[0.5, 1]'],
    read: (bytes) => parseAnswer(new TextDecoder().decode(bytes)),
    isNameless: true,
  });
});
