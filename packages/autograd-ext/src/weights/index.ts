export { directory } from './directory.js';
export { readJson, readText, subfolder, type FileSource, type RandomAccessFile } from './file-source.js';
export { initParams, loadParams, type LoadParamsOptions, type ParamsSpec } from './load-params.js';
export { memory } from './memory.js';
export { openSafetensors, type Safetensors } from './open-safetensors.js';
export { openWeights, type OpenWeightsOptions } from './open-weights.js';
export { encodeSafetensors, saveSafetensors, type RawTensor, type SafetensorsEntry } from './save-safetensors.js';
export { writeFileAtomic, type FileContents } from './write-file-atomic.js';
