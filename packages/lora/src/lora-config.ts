/** The layers to adapt, the rank, scale and initialization. Fields have the names of peft's `LoraConfig`. */
export interface LoraConfig {
  /** The rank: rows of A, columns of B. An integer from 1 to 4096. */
  readonly r: number;
  /** The adapter's output is multiplied by `loraAlpha / r`. Finite and above 0. */
  readonly loraAlpha: number;
  /** Suffixes of module paths, as in peft: `to_q` matches every such module, `attn1.to_q` those in an `attn1`. */
  readonly targetModules: readonly string[];
  /**
   * The initialization of A. `gaussian` (the default): normal with standard deviation 1/r. `kaiming-uniform` (peft's
   * default): uniform in ±1/√(in·kh·kw). B starts at zero, so that a new adapter does not change the output.
   */
  readonly initLoraWeights?: 'gaussian' | 'kaiming-uniform';
}

/** The largest rank: layers of Stable Diffusion have at most 10,240 inputs, beyond which a rank adds nothing. */
const MAX_RANK = 4096;

/** Checks a configuration. @throws one error that lists every field that is out of range */
export function checkLoraConfig({ r, loraAlpha, targetModules, initLoraWeights = 'gaussian' }: LoraConfig): void {
  const problems: string[] = [];
  if (!Number.isInteger(r) || r < 1 || r > MAX_RANK)
    problems.push(`r got ${r}, expected an integer from 1 to ${MAX_RANK}`);
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
