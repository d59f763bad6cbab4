/** What is drawn in the browser, and in Node to compare with. */
export const drawing = {
  prompt: 'crab',
  options: { numInferenceSteps: 3, guidanceScale: 5, seed: 7 },
} as const;
