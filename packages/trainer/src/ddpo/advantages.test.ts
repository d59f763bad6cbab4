import { describe, expect, it } from 'vitest';
import { epochAdvantages, perPromptAdvantages } from './advantages.js';

const near = (actual: readonly number[], expected: readonly number[]) => {
  expect(actual).toHaveLength(expected.length);
  actual.forEach((value, i) => expect(value).toBeCloseTo(expected[i]!, 5));
};

describe('advantages', () => {
  it('are standardised over the epoch, with the population standard deviation', () => {
    near(
      epochAdvantages(['a', 'b', 'c', 'd'], [1, 2, 3, 6]),
      [-2, -1, 0, 3].map((difference) => difference / Math.sqrt(3.5)),
    );
  });

  it('are 0 where all rewards are equal', () => {
    near(epochAdvantages(['a', 'b'], [4, 4]), [0, 0]);
    near(perPromptAdvantages({ bufferSize: 4, minCount: 1 })(['a', 'a'], [4, 4]), [0, 0]);
  });

  it("use the epoch's statistics until a prompt has enough rewards of its own", () => {
    const advantages = perPromptAdvantages({ bufferSize: 8, minCount: 3 });
    const first = [1, 9, 3, 11]; // mean 6, variance 17
    near(
      advantages(['a', 'b', 'a', 'b'], first),
      first.map((reward) => (reward - 6) / Math.sqrt(17)),
    );
    // a has 1, 3, 5: mean 3, variance 8/3. b has 9, 11, 13, 15: mean 12, variance 5.
    near(advantages(['b', 'a', 'b'], [13, 5, 15]), [1 / Math.sqrt(5), 2 / Math.sqrt(8 / 3), 3 / Math.sqrt(5)]);
  });

  it('forget the oldest rewards of a prompt', () => {
    const advantages = perPromptAdvantages({ bufferSize: 2, minCount: 2 });
    advantages(['a', 'a'], [100, 200]);
    near(advantages(['a', 'a'], [1, 3]), [-1, 1]); // mean 2, deviation 1
    near(advantages(['a'], [7]), [1]); // 3 and 7
  });
});
