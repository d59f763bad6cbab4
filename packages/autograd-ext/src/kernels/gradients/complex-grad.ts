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
 * Adds gradients that throw with the reason: tfjs cannot differentiate through complex numbers, because its tape
 * accepts float32 gradients only.
 */
export function refuseComplexGradients(): void {
  for (const [kernelName, inputs] of Object.entries(kernels)) {
    const refuse = () => {
      throw new Error(
        `gradient: ${kernelName} got a complex tensor, expected real ones: tfjs propagates float32 gradients only. ` +
          'Multiply by matrices of cosines and sines instead, or stop the gradient there.',
      );
    };
    registerGradient({ kernelName, gradFunc: () => Object.fromEntries(inputs.map((input) => [input, refuse])) });
  }
}
