/** Runs work, and tells how long it took if that was longer than a second: `3.2 s`. */
export async function timed<T>(tell: (duration: string) => void, work: () => Promise<T>): Promise<T> {
  const started = performance.now();
  const result = await work();
  const seconds = (performance.now() - started) / 1000;
  if (seconds > 1) tell(`${seconds.toFixed(1)} s`);
  return result;
}
