// tfjs-core registers no gradient by itself outside its umbrella package; importing this file is a side effect on its
// global registry. The file imported here is an ES module in a CommonJS package, so the build bundles it.
import '@tensorflow/tfjs-core/dist/register_all_gradients.js';
import { correctTfjs } from './kernels/correct-tfjs.js';

correctTfjs();

export { correctTfjs };
