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
    budget.residuals.release(unetGradient, buffers, 600 * MB);
    expect([run(budget, [decoder], 101), freed]).toEqual([[], ['block']]);
  });

  it('keeps what every function with its gradient leaves free', () => {
    const budget = budgetOf(5000);
    budget.addDifferentiated(unetGradient);
    expect(budget.kept).toBe(1000 * MB);
    const saved = budget.residuals.acquire(unetGradient, 900 * MB, () => []);
    expect(budget.running(decoder.weights)).toBe((5000 - 300 - 900) * MB);
    budget.addDifferentiated(user([[{}, 3500]], 1400));
    expect(budget.kept).toBe(100 * MB);
    budget.residuals.release(unetGradient, saved, 900 * MB);
  });
});
