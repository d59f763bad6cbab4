import { z } from 'zod';
import { excerpt, maskSecrets, parseJson } from '@alignprop/autograd-ext/outside';
import { ifPresent } from '@alignprop/autograd-ext/weights';

/** One input of a run: a model, a reward, prompts. Two are the same if their hashes are. */
export interface IdentityPart {
  /** Names it in messages: a folder, a hub id with its revision, a file. */
  readonly name: string;
  /** The SHA-256 of what it consists of, as 64 hexadecimal digits. */
  readonly sha256: string;
  /** More about it, for readers of run.json. */
  readonly [detail: string]: unknown;
}

/**
 * The inputs of a run besides its configuration, by name: `model`, `lora`, `embeddings`, `reward`, `eval_reward`,
 * `prompts`, `eval_prompts`, `engine`. `resumeRules` says for each whether it may change.
 */
export type RunIdentity = Readonly<Record<string, IdentityPart>>;

/** The parts of a manifest that a trainer's caller knows. */
export interface ManifestParts {
  /** The kind of the run: one of another kind does not take its folder. By default the name of the algorithm. */
  readonly kind?: string;
  /** Compared when the run is resumed. */
  readonly identity?: RunIdentity;
  /** The caller's own options, from which it can start the run again; JSON. */
  readonly options?: Readonly<Record<string, unknown>>;
  /** Versions of packages, of Node and of the engine; for information. */
  readonly versions?: Readonly<Record<string, string>>;
}

const part = z.looseObject({ name: z.string(), sha256: z.string() });

/** The schema of run.json. Checkpoints hold the same. */
export const manifestSchema = z.object({
  version: z.literal(1),
  algorithm: z.enum(['alignprop', 'ddpo']),
  kind: z.string(),
  config: z.record(z.string(), z.unknown()),
  identity: z.record(z.string(), part).optional(),
  options: z.record(z.string(), z.unknown()).optional(),
  versions: z.record(z.string(), z.string()).optional(),
});

/** Describes a run so that it can be started again: the content of run.json. */
export type RunManifest = z.output<typeof manifestSchema>;

/** The name of the manifest's file in a run's folder. */
export const manifestFile = 'run.json';

/** Options that hold for one start of a run: in a template of other runs they would delete or continue this one. */
const oneOff: readonly string[] = ['resume_from', 'overwrite_output_dir'];

/** Creates the manifest of a run from its complete configuration, without the options that hold for one start, and
 * with secrets masked. */
export function createManifest(
  algorithm: RunManifest['algorithm'],
  config: Readonly<Record<string, unknown>>,
  { kind = algorithm, identity, options, versions }: ManifestParts = {},
): RunManifest {
  const stored = Object.fromEntries(Object.entries(config).filter(([key]) => !oneOff.includes(key)));
  // As JSON, so that it equals what is read back: undefined values are left out.
  const manifest = { version: 1, algorithm, kind, config: stored, identity, options, versions };
  return parseJson(JSON.stringify(maskSecrets(manifest))) as RunManifest;
}

/**
 * Reads `<folder>/run.json`; undefined if there is none.
 * @throws if it is no manifest that this version reads
 */
export async function readManifestFile(folder: string): Promise<RunManifest | undefined> {
  const { readFile } = await import('node:fs/promises');
  const path = `${folder}/${manifestFile}`;
  const text = await ifPresent(readFile(path, 'utf8'));
  if (text === undefined) return undefined;
  try {
    return manifestSchema.parse(parseJson(text));
  } catch (cause) {
    const problem = cause instanceof z.ZodError ? z.prettifyError(cause).replaceAll('\n', ' ') : String(cause);
    throw new Error(
      `run.json: ${path} is not the manifest of a run: ${excerpt(problem, 500)}. ` +
        'Restore it, or delete it and give the options of the run again.',
      { cause },
    );
  }
}
