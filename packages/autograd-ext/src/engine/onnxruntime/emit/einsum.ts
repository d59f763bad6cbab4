import { contract, type EinsumAttrs } from '../../../kernels/einsum.js';
import { recordComposite } from '../recorder.js';

recordComposite<EinsumAttrs>('Einsum', (inputs, attrs) => contract(Object.values(inputs), attrs));
