/** The prompt and options of the image that browser and Node both draw. */
export const drawing = {
  prompt: 'crab',
  options: { numInferenceSteps: 3, guidanceScale: 5, seed: 7 },
} as const;
