import { table } from '@alignprop/autograd-ext/outside';
/** The settings that an image was generated with. */
export interface GenerationSettings {
  prompt: string;
  negativePrompt?: string;
  /** Denoising steps. */
  steps: number;
  /** The scheduler's `_class_name`, or another name of a sampler. */
  sampler: string;
  guidanceScale: number;
  guidanceRescale?: number;
  eta?: number;
  /** Undefined if unknown. */
  seed?: number;
  /** In pixels. */
  height: number;
  width: number;
  model?: string;
  /** Further entries of the last line, by label. */
  extra?: Readonly<Record<string, string | number>>;
}

/** stable-diffusion-webui's names of diffusers' schedulers. */
const samplerNames = table<string>({
  DDIMScheduler: 'DDIM',
  EulerAncestralDiscreteScheduler: 'Euler a',
  EulerDiscreteScheduler: 'Euler',
  HeunDiscreteScheduler: 'Heun',
  KDPM2AncestralDiscreteScheduler: 'DPM2 a',
  KDPM2DiscreteScheduler: 'DPM2',
  LCMScheduler: 'LCM',
  LMSDiscreteScheduler: 'LMS',
  PNDMScheduler: 'PLMS',
  UniPCMultistepScheduler: 'UniPC',
});

/**
 * Formats settings as the text that stable-diffusion-webui stores with an image and reads back: the prompt,
 * `Negative prompt: …` if there is one, and a line of `Label: value` entries separated by commas.
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

/** Quotes a value as JSON if it contains a character that ends an entry. */
const quoted = (value: string | number) => (/[,\n:"]/.test(`${value}`) ? JSON.stringify(`${value}`) : `${value}`);
