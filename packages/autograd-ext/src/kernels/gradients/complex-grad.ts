import { registerGradient } from '@tensorflow/tfjs-core';

const kernels = {
  Complex: ['real', 'imag'],
  Real: ['input'],
  Imag: ['input'],
  FFT: ['input'],
  IFFT: ['input'],
  ComplexAbs: ['x'],
};

/**
 * Says why tfjs cannot differentiate through complex numbers: its tape takes float32 gradients only, so no gradient
 * could be handed on.
 */
export function refuseComplexGradients(): void {
  for (const [kernelName, inputs] of Object.entries(kernels)) {
    const refuse = () => {
      throw new Error(
        `gradient: ${kernelName} got a complex tensor, expected real ones: tfjs hands on float32 gradients only. Multiply with matrices of cosines and sines instead, or stop the gradient there.`,
      );
    };
    registerGradient({ kernelName, gradFunc: () => Object.fromEntries(inputs.map((input) => [input, refuse])) });
  }
}
