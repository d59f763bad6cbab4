import { completeBatchNormInputs } from './batch-norm-inputs.js';
import { shareClonesOnWasm } from './identity-wasm.js';
import { statePaddingOnWasm } from './padding-wasm.js';

/** Corrects kernels of the backends that are loaded: to be called again after loading one. */
export function correctKernels(): void {
  shareClonesOnWasm();
  statePaddingOnWasm();
  completeBatchNormInputs();
}
