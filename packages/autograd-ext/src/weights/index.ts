export { directory } from './files/directory.js';
export { widen } from './dtypes/dtype.js';
export { readJson, readText, subfolder, type FileSource, type RandomAccessFile } from './files/file-source.js';
export { hub } from './hub/hub.js';
export type { DownloadProgress, HubOptions } from './hub/hub-settings.js';
export { initParams, loadParams, type LoadParamsOptions, type ParamsSpec } from './load-params.js';
export { memory } from './files/memory.js';
export { openSafetensors, type Safetensors } from './safetensors/open-safetensors.js';
export { openTorchFile, type TorchFile } from './torch/open-torch-file.js';
export { openWeightFile } from './open-weight-file.js';
export { openWeights, type OpenWeightsOptions } from './open-weights.js';
export { resolveSource } from './resolve-source.js';
export {
  encodeSafetensors,
  saveSafetensors,
  type RawTensor,
  type SafetensorsEntry,
} from './safetensors/save-safetensors.js';
export { syncFolder } from './files/sync-folder.js';
export { TorchFileError } from './torch/torch-file-error.js';
export { isTemporaryName, writeFileAtomic, type FileContents } from './files/write-file-atomic.js';
