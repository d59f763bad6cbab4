/** How an image was made. */
export interface GenerationSettings {
  prompt: string;
  negativePrompt?: string;
  /** Denoising steps. */
  steps: number;
  /** The scheduler's `_class_name`, or any other name. */
  sampler: string;
  guidanceScale: number;
  guidanceRescale?: number;
  eta?: number;
  /** Undefined where it is not known. */
  seed?: number;
  /** In pixels. */
  height: number;
  width: number;
  model?: string;
  /** Further entries of the last line, by their labels. */
  extra?: Readonly<Record<string, string | number>>;
}

const samplerNames: Readonly<Record<string, string>> = { DDIMScheduler: 'DDIM', PNDMScheduler: 'PLMS' };

/**
 * The text that stable-diffusion-webui keeps with an image and reads back: the prompt, `Negative prompt: …` if there is
 * one, and a line of `Label: value` with commas between.
 */
export function formatParameters(settings: GenerationSettings): string {
  const {
    prompt,
    negativePrompt,
    steps,
    sampler,
    guidanceScale,
    guidanceRescale,
    eta,
    seed,
    height,
    width,
    model,
    extra,
  } = settings;
  const entries: Record<string, string | number | undefined> = {
    Steps: steps,
    Sampler: samplerNames[sampler] ?? sampler,
    'CFG scale': guidanceScale,
    Seed: seed,
    Size: `${width}x${height}`,
    Model: model,
    Eta: eta || undefined,
    'CFG Rescale': guidanceRescale || undefined,
    ...extra,
  };
  const known = Object.entries(entries).filter((entry): entry is [string, string | number] => entry[1] !== undefined);
  const lines = [
    prompt,
    negativePrompt && `Negative prompt: ${negativePrompt}`,
    known.map(([label, value]) => `${label}: ${quoted(value)}`).join(', '),
  ];
  return lines.filter((line) => line !== undefined && line !== '').join('\n');
}

/** As JSON where the value has a character that ends an entry. */
const quoted = (value: string | number) => (/[,\n:"]/.test(`${value}`) ? JSON.stringify(`${value}`) : `${value}`);
