import type { LoraConfig } from '@alignprop/lora';
import type { AlignPropConfig } from '../config/config.js';

/** The modules of a text encoder that diffusers adapts. */
export const textTargets: readonly string[] = ['q_proj', 'k_proj', 'v_proj', 'out_proj'];

/** Returns the configuration of a new adapter on the given modules. */
export const adapterConfig = (
  { lora_rank: r, lora_alpha: loraAlpha, lora_init: initLoraWeights }: AdapterOptions,
  targetModules: readonly string[],
): LoraConfig => ({ r, loraAlpha, targetModules, initLoraWeights });

/** The options that every new adapter of a run has in common. */
export type AdapterOptions = Pick<AlignPropConfig, 'lora_rank' | 'lora_alpha' | 'lora_init'>;
