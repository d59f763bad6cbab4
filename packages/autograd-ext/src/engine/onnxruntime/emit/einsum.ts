import { contract } from '../../../kernels/backends/wasm/einsum.js';
import type { EinsumAttrs } from '../../../kernels/geometry/einsum-equation.js';
import { recordComposite } from '../recording/recorder.js';

recordComposite<EinsumAttrs>('Einsum', (inputs, attrs) => contract(Object.values(inputs), attrs));
