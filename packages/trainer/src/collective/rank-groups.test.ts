import { expect, it } from 'vitest';
import { describeByRank } from './rank-groups.js';

it.each([
  [['a', 'a'], 'a on ranks 0, 1'],
  [['a', 'b', 'a', 'a', 'a'], 'a on ranks 0, 2-4, b on rank 1'],
  [['a', 'a', 'a', 'b', 'c', 'b', 'b'], 'a on ranks 0-2, b on ranks 3, 5, 6, c on rank 4'],
])('describeByRank names the ranks of %s', (values, text) => expect(describeByRank(values)).toBe(text));
