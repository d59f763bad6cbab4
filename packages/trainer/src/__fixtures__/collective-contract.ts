import { deepStrictEqual } from 'node:assert';
import type { Collective } from '../collective/collective.js';

/** Checks the contract of `Collective`. All ranks call it. @throws if a result is wrong */
export async function checkCollective(collective: Collective): Promise<void> {
  const { rank, size } = collective;
  const ranks = Array.from({ length: size }, (_, i) => i);
  /** The float32 sum over ranks. */
  const total = (valueOf: (rank: number) => number): number =>
    ranks.reduce((sum, i) => Math.fround(sum + valueOf(i)), 0);
  for (const count of [0, 1, 7, 1_048_577]) {
    // The last count needs several reductions. The values do not begin at the start of their buffer.
    const values = Float32Array.from({ length: count + 1 }, (_, i) => i + 0.25 * rank).subarray(1);
    await collective.sum(values);
    deepStrictEqual(
      [values[0], values[count - 1]],
      count === 0 ? [undefined, undefined] : [total((i) => 1 + 0.25 * i), total((i) => Math.fround(count + 0.25 * i))],
    );

    const broadcast = Float32Array.from({ length: count }, (_, i) => rank + i);
    await collective.broadcast(broadcast);
    deepStrictEqual([broadcast[0], broadcast[count - 1]], count === 0 ? [undefined, undefined] : [0, count - 1]);
  }
  const parts = await collective.gather(new Uint8Array(3 * rank).fill(rank)); // rank 0 sends no bytes
  deepStrictEqual(
    parts.map((part) => [...part]),
    ranks.map((i) => new Array<number>(3 * i).fill(i)),
  );
  deepStrictEqual(
    (await collective.gather(new Uint8Array(0))).map(({ length }) => length),
    ranks.map(() => 0),
  );
  const large = await collective.gather(new Uint8Array(2_500_001).fill(rank + 1));
  deepStrictEqual(
    large.map((part) => [part.length, part.at(-1)]),
    ranks.map((i) => [2_500_001, i + 1]),
  );
  await collective.barrier();
}
