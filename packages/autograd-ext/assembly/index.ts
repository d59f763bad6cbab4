// The SIMD kernels of the wasm backend, in AssemblyScript. `npm run build:simd` compiles them to
// src/kernels/simd/kernels.wasm.ts.
//
// All pointers are byte addresses in the memory of tfjs's wasm backend, which the module imports. The kernels keep
// everything else in local variables: there is no allocator, no static data and no stack in that memory.
export { gegluGradRow, gegluRow } from './geglu';
export { matmul } from './matmul';
export { columnAffine, columnAffineGrad, columnSums, layerNormGradRow, layerNormRow } from './norm';
export { softmaxGradRow, softmaxRow } from './softmax';
