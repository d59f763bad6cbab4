/** Which matrices get an adapter, and of what kind; the fields of peft's `LoraConfig` that this package knows. */
export interface LoraConfig {
  /** Rank: rows of A, columns of B. An integer of at least 1. */
  readonly r: number;
  /** The adapter's output is multiplied by `loraAlpha / r`. Finite and above 0. */
  readonly loraAlpha: number;
  /** Ends of module paths, as in peft: `to_q` is every module called `to_q`, `attn1.to_q` those inside an `attn1`. */
  readonly targetModules: readonly string[];
  /**
   * How A starts; B always starts at zero, so a new adapter changes nothing. `gaussian` (the default): normal with
   * standard deviation 1/r. `kaiming-uniform` (peft's default): uniform in ±1/√in.
   */
  readonly initLoraWeights?: 'gaussian' | 'kaiming-uniform';
}

/** @throws listing every field that is out of range */
export function checkLoraConfig({ r, loraAlpha, targetModules, initLoraWeights = 'gaussian' }: LoraConfig): void {
  const problems: string[] = [];
  if (!Number.isInteger(r) || r < 1) problems.push(`r got ${r}, expected an integer of at least 1`);
  if (!Number.isFinite(loraAlpha) || loraAlpha <= 0)
    problems.push(`loraAlpha got ${loraAlpha}, expected a number above 0`);
  if (
    !Array.isArray(targetModules) ||
    targetModules.length === 0 ||
    targetModules.some((name) => typeof name !== 'string' || !name)
  )
    problems.push(`targetModules got ${JSON.stringify(targetModules)}, expected a list of names such as 'to_q'`);
  if (initLoraWeights !== 'gaussian' && initLoraWeights !== 'kaiming-uniform')
    problems.push(`initLoraWeights got '${String(initLoraWeights)}', expected 'gaussian' or 'kaiming-uniform'`);
  if (problems.length) throw new Error(`LoraConfig: ${problems.join('; ')}.`);
}
