import { contract } from '../../../kernels/backends/wasm/einsum.js';
import type { EinsumAttrs } from '../../../kernels/geometry/einsum-equation.js';
import { registerDecomposition } from '../recorder/recorder.js';

// tf.einsum as transposes and matrix products.
registerDecomposition<EinsumAttrs>('Einsum', (inputs, attrs) => contract(Object.values(inputs), attrs));
