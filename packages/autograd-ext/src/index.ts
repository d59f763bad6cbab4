export { backendNames, ensureBackend, useBackend, type BackendName } from './backend.js';
export { defineOp, type OpDefinition } from './define-op.js';
export type { Compiled, CompiledVjp, Engine } from './engine/engine.js';
export { TfjsEngine } from './engine/tfjs.js';
export { freeze, packedLayout, unfreeze } from './frozen.js';
export {
  flatten,
  flattenTensors,
  isLinearMap,
  isStoredTensor,
  isTensor,
  mapLeaves,
  mapTensors,
  trainable,
  unflatten,
  withTensors,
  type Leaf,
  type LinearMap,
  type Params,
  type StoredTensor,
} from './params.js';
export { gradients, vjp, type ModelFunction, type Vjp } from './vjp.js';
