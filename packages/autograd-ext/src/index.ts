import './register-gradients.js'; // bundlers keep it, also for programs that use a single op

export { backendNames, ensureBackend, useBackend, type BackendName, type BackendOptions } from './backend.js';
export { checkpoint } from './checkpoint.js';
export { defineOp, type OpDefinition } from './define-op.js';
export { isDifferentiable } from './differentiable.js';
export { disposeTensors } from './dispose-tensors.js';
export { checkOptions, nearestName, optionNames, suggestName } from './check-options.js';
export { createEngine, engineNames, type EngineName, type EngineOptions } from './engine/create-engine.js';
export type { Compiled, CompiledVjp, Engine, SavedForward } from './engine/engine.js';
export { DryRunEngine, type DryRunOptions, type EngineMemory } from './engine/memory-estimate.js';
export { OnnxRuntimeEngine } from './engine/onnxruntime/engine.js';
export type { OnnxRuntimeEngineOptions } from './engine/onnxruntime/options.js';
export { RecordingError } from './engine/onnxruntime/recorder/recorder.js';
export type { CompileProgress } from './engine/onnxruntime/runtime/program.js';
export {
  findRuntime,
  runtimeInstallCommand,
  type RuntimeProblem,
  type RuntimeSearch,
} from './engine/onnxruntime/runtime/onnx-runtime.js';
export type { OnnxRuntime } from './engine/onnxruntime/runtime/runtime.js';
export { devices, type Device } from './engine/onnxruntime/runtime/session.js';
export { webRuntime, type OnnxRuntimeWeb } from './engine/onnxruntime/runtime/web-runtime.js';
export { precisions, type Precision } from './precision.js';
export { TfjsEngine, type TfjsEngineOptions } from './engine/tfjs.js';
export { disposeFrozen, readFrozen } from './frozen.js';
export { importOptional, installCommand, programCommand, rebuildCommand } from './optional-package.js';
export { conv2d, type Kernel } from './ops/conv2d.js';
export { geglu } from './ops/geglu.js';
export { gelu } from './ops/gelu.js';
export { groupNorm } from './ops/group-norm.js';
export { layerNorm } from './ops/layer-norm.js';
export { linear, type Matrix } from './ops/linear.js';
export { quickGelu } from './ops/quick-gelu.js';
export { resize, shorterSide, upsampleNearest, type Size } from './ops/resize.js';
export { resizeUint8 } from './ops/resize-uint8.js';
export { scaledDotProductAttention, type AttentionOptions } from './ops/scaled-dot-product-attention.js';
export { silu } from './ops/silu.js';
export {
  elementCount,
  flatten,
  flattenTensors,
  isLinearMap,
  isStoredTensor,
  isTensor,
  isTrainable,
  mapLeaves,
  mapTensors,
  readValues,
  trainable,
  unflatten,
  withTensors,
  type Conv2DOptions,
  type Leaf,
  type LinearMap,
  type Padding,
  type Params,
  type StoredTensor,
} from './params.js';
export { randn, random, TorchGenerator, type GeneratorState } from './random.js';
export {
  findTensorflowPackage,
  tensorflowDevice,
  tensorflowPackages,
  type TensorflowDevice,
  type TensorflowPackage,
} from './tensorflow.js';
export { gradients, vjp, type ModelFunction, type Vjp } from './vjp.js';
