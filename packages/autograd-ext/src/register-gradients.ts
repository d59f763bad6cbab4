// Registers tfjs-core's gradients and corrects them. Importing tfjs-core alone registers no gradient; only the umbrella
// package @tensorflow/tfjs does. The file imported here is an ES module in a CommonJS package, so our build bundles it.
import '@tensorflow/tfjs-core'; // first: the copy of tfjs that is loaded first makes the tensors
import '@tensorflow/tfjs-core/dist/register_all_gradients.js';
import { correctTfjs } from './kernels/correct-tfjs.js';

correctTfjs();

export { correctTfjs };
