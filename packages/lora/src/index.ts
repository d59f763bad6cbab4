export { loraModules, loraTensors, removeLora, scaleLora } from './adapters.js';
export { addDora } from './add-dora.js';
export { addLora } from './add-lora.js';
export { applyLora } from './apply-lora.js';
export { encodeLora, type SaveLoraOptions } from './encode-lora.js';
export type { LoraConfig } from './lora-config.js';
export { fuseLora, unfuseLora } from './fuse-lora.js';
export { loraFormats, type LoraFormat } from './layouts/lora-layouts.js';
export { withLora, type AdaptablePipeline, type LoadLoraWeightsOptions, type LoraMethods } from './lora-pipeline.js';
export { loadLora, openLora, type LoadLoraOptions, type OpenedAdapter } from './load-lora.js';
export type { BundledEmbedding } from './reading/bundled-embeddings.js';
export { LoraLayer, type Dora, type LoraLayerParts } from './lora-layer.js';
export {
  checkWritable,
  stateTensors,
  type LoraState,
  type LowRankAdapter,
  type MergedAdapter,
  type ModuleAdapter,
} from './lora-state.js';
export { mixLora, mixModes, type MixMode } from './mix-lora.js';
export { saveLora } from './save-lora.js';
