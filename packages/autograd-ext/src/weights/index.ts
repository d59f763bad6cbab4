export { widen } from './dtypes/dtype.js';
export { directory } from './files/directory.js';
export { readJson, readText, subfolder, type FileSource, type RandomAccessFile } from './files/file-source.js';
export { describeSpace, freeSpace } from './files/free-space.js';
export { ifPresent, isAbsence } from '../if-present.js';
export { joinBytes } from './files/join-bytes.js';
export { memory } from './files/memory.js';
export { thisProcess } from './files/process-identity.js';
export { SILENCE, takeProcessLock, type LockHolder, type LockOwner, type ProcessLock } from './files/process-lock.js';
export { syncFolder } from './files/sync-folder.js';
export { isTemporaryName, writeFileAtomic } from './files/write-file-atomic.js';
export { findWeightFile } from './find-weight-file.js';
export {
  hubAccessNames,
  hubOptionNames,
  type DownloadProgress,
  type HubAccess,
  type HubOptions,
} from './hub/hub-settings.js';
export { hubState, type HubState } from './hub/hub-state.js';
export { hub } from './hub/hub.js';
export { checkPush, pushToHub, type Pushed, type PushedFiles, type PushOptions } from './hub/push.js';
export { initParams, loadParams, type ParamsSpec } from './load-params.js';
export {
  isSafetensors,
  isWeightFile,
  openCheckpointFile,
  openWeightFile,
  type WeightFile,
} from './open-weight-file.js';
export { openWeights } from './open-weights.js';
export { resolveSource, singleFileAdvice } from './resolve-source.js';
export { openSafetensors } from './safetensors/open-safetensors.js';
export {
  encodeSafetensors,
  saveSafetensors,
  type RawTensor,
  type SafetensorsEntry,
} from './safetensors/save-safetensors.js';
export { openTorchFile } from './torch/open-torch-file.js';
