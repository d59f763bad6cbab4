import { contract, type EinsumAttrs } from '../../../kernels/repaired/einsum.js';
import { recordComposite } from '../recording/recorder.js';

recordComposite<EinsumAttrs>('Einsum', (inputs, attrs) => contract(Object.values(inputs), attrs));
