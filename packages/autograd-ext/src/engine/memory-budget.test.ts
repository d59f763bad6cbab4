import { describe, expect, it } from 'vitest';
import { MemoryBudget, processBytes, type MemoryUser } from './memory-budget.js';

const MB = 1e6;
const user = (weights: readonly (readonly [object, number])[], activations: number): MemoryUser => ({
  weights: new Map(weights.map(([leaf, bytes]) => [leaf, bytes * MB])),
  activationBytes: activations * MB,
});
const leaf = {};
const unet = user([[leaf, 3000]], 500);
const unetGradient = user([[leaf, 3000]], 1000);
const decoder = user([[{}, 300]], 2000);
const encoder = user([[{}, 500]], 100);
const large = user([[{}, 600]], 3400);
const small = user([[{}, 60]], 10);
const budgetOf = (megabytes: number) => new MemoryBudget<MemoryUser>(processBytes + megabytes * MB);
const idle = (_: MemoryUser) => false;
/** Runs functions one after the other; returns those that end before the last one. */
const run = (budget: MemoryBudget<MemoryUser>, users: readonly MemoryUser[], saved = 0, isBusy = idle) =>
  users.map((one) => budget.makeRoom(one, saved * MB, isBusy)).at(-1);

describe('MemoryBudget', () => {
  it('ends nothing where all fits or the limit is not known', () => {
    expect(run(budgetOf(5800), [encoder, unet, decoder])).toEqual([]);
    expect(run(new MemoryBudget<MemoryUser>(), [encoder, unet, decoder])).toEqual([]);
  });

  it('ends the largest first, until there is room', () => {
    expect(run(budgetOf(5799), [encoder, unet, decoder])).toEqual([unet]);
    expect(run(budgetOf(4000), [encoder, unet, large])).toEqual([unet, encoder]);
  });

  it('ends all that share the weights of the largest, and none that shares those of what runs', () => {
    expect(run(budgetOf(4000), [unet, unetGradient, decoder])).toEqual([unetGradient, unet]);
    expect(run(budgetOf(4000), [unet, decoder, unetGradient])).toEqual([decoder]);
  });

  it('ends none that runs, nor small ones', () => {
    const isBusy = (other: MemoryUser) => other === unet;
    expect(run(budgetOf(4070), [small, encoder, unet, large], 0, isBusy)).toEqual([encoder]);
    expect(run(budgetOf(4000), [small, large])).toEqual([]);
  });

  it('counts activations that are saved, and frees those not in use first', () => {
    const budget = budgetOf(6000);
    const freed: string[] = [];
    const block = { dispose: () => freed.push('block') };
    const buffers = budget.residuals.acquire(unetGradient, 600 * MB, () => [block]);
    expect(run(budget, [unetGradient, decoder])).toEqual([]);
    expect(run(budget, [decoder], 101)).toEqual([unetGradient]);
    run(budget, [unetGradient]);
    budget.residuals.release(buffers);
    expect([run(budget, [decoder], 101), freed]).toEqual([[], ['block']]);
  });

  it('saves activations as long as the run that saves them has room', () => {
    const budget = budgetOf(5000);
    run(budget, [encoder, decoder]); // which end when the other runs
    expect([budget.canSave(unetGradient, 1000 * MB), budget.canSave(unetGradient, 1001 * MB)]).toEqual([true, false]);
    const saved = budget.residuals.acquire(unetGradient, 900 * MB, () => []);
    expect([budget.canSave(decoder, 1800 * MB), budget.canSave(decoder, 1801 * MB)]).toEqual([true, false]);
    budget.residuals.release(saved); // spare memory counts no more
    expect(budget.canSave(decoder, 2700 * MB)).toBe(true);
  });

  it('does not let a second release reach the run that has the memory now', () => {
    const { residuals } = budgetOf(5000);
    const first = residuals.acquire(unetGradient, 900 * MB, () => []);
    residuals.release(first);
    const second = residuals.acquire(unetGradient, 900 * MB, () => {
      throw new Error('The spare block was not reused.');
    });
    residuals.release(first);
    expect([residuals.bytesInUse, second.buffers, first.buffers]).toEqual([900 * MB, [], undefined]);
  });

  it('leaves a run what saved activations leave, and at least half', () => {
    const budget = budgetOf(5000);
    const saved = budget.residuals.acquire(unetGradient, 900 * MB, () => []);
    expect(budget.running(decoder.weights)).toBe((5000 - 300 - 900) * MB);
    budget.residuals.acquire(unetGradient, 3000 * MB, () => []);
    expect(budget.running(decoder.weights)).toBe(2350 * MB);
    budget.residuals.release(saved);
  });

  it('gives up saved activations last, the oldest first, and none that a run reads', async () => {
    const budget = budgetOf(4000);
    const block = () => budget.residuals.acquire(unetGradient, 600 * MB, () => []);
    const [oldest, middle, newest] = [block(), block(), block()];
    const held = async () => {
      expect(run(budget, [decoder])).toEqual([]); // 300 + 2000 + 1800
      expect([oldest, middle, newest].map(({ buffers }) => buffers !== undefined)).toEqual([true, false, true]);
      return Promise.resolve();
    };
    await oldest.hold(held);
    budget.makeRoom(large, 0, idle); // 600 + 3400
    expect([oldest, newest].map(({ buffers }) => buffers)).toEqual([undefined, undefined]);
    expect(budget.residuals.bytes).toBe(0);
    budget.residuals.release(oldest);
    expect(budget.residuals.bytes).toBe(0);
  });
});
