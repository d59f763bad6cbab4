/**
 * A set that all copies of this package in a process share, as they share tfjs's registry: what one copy has corrected
 * there, another does not correct again.
 */
export function sharedSet(name: string): WeakSet<object> {
  const shared = globalThis as { [key: symbol]: WeakSet<object> | undefined };
  return (shared[Symbol.for(`@alignprop/autograd-ext: ${name}`)] ??= new WeakSet());
}
