import {
  add,
  concat,
  split,
  tile,
  type Tensor,
  type Tensor1D,
  type Tensor3D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { gelu, layerNorm, linear, scaledDotProductAttention } from '@alignprop/autograd-ext';
import type { ParamsSpec } from '@alignprop/autograd-ext/weights';
import {
  embedPatches,
  linearSpec,
  normSpec,
  repeatSpec,
  type LinearParams,
  type NormParams,
} from '@alignprop/diffusion/clip';
import type { BlipVisionConfig } from './image-reward-config.js';

const EPS = 1e-6; // of layer normalisation in timm

/** The weights of a timm `Block`. */
type BlockParams = {
  norm1: NormParams;
  attn: { qkv: LinearParams; proj: LinearParams };
  norm2: NormParams;
  mlp: { fc1: LinearParams; fc2: LinearParams };
};

/** The weights of BLIP's `VisionTransformer`. */
export type BlipVisionParams = {
  cls_token: Tensor3D; // [1, 1, C]
  pos_embed: Tensor3D; // [1, 1 + N, C]
  patch_embed: { proj: { weight: Tensor4D; bias: Tensor1D } };
  blocks: readonly BlockParams[];
  norm: NormParams;
};

/** The keys and shapes of the weights. */
export function blipVisionSpec({ width, depth, inner, patch, grid }: BlipVisionConfig) {
  return {
    cls_token: { shape: [1, 1, width] },
    pos_embed: { shape: [1, 1 + grid * grid, width] },
    patch_embed: { proj: { weight: { shape: [width, 3, patch, patch] }, bias: { shape: [width] } } },
    blocks: repeatSpec(depth, () => ({
      norm1: normSpec(width),
      attn: { qkv: linearSpec(width, 3 * width), proj: linearSpec(width, width) },
      norm2: normSpec(width),
      mlp: { fc1: linearSpec(width, inner), fc2: linearSpec(inner, width) },
    })),
    norm: normSpec(width),
  } satisfies ParamsSpec;
}

/**
 * BLIP's image encoder, timm's `VisionTransformer` without a head (arXiv 2201.12086, §3.1; arXiv 2010.11929).
 * @param pixels `[B, patch · grid, patch · grid, 3]`, normalised with CLIP's mean and standard deviation
 * @returns the class token and the patches, normalised, `[B, 1 + N, C]`
 */
export function blipVision(config: BlipVisionConfig, params: BlipVisionParams, pixels: Tensor4D): Tensor3D {
  const { weight, bias } = params.patch_embed.proj;
  const classToken = tile(params.cls_token, [pixels.shape[0], 1, 1]);
  const tokens: Tensor = add(concat([classToken, embedPatches(pixels, weight, bias)], 1), params.pos_embed);
  return norm(
    params.norm,
    params.blocks.reduce((x, block) => blipVisionBlock(config, block, x), tokens),
  ) as Tensor3D;
}

/** timm's `Block`: attention and MLP, each on normalised tokens with a residual connection. */
function blipVisionBlock(
  { heads }: BlipVisionConfig,
  { norm1, attn, norm2, mlp }: BlockParams,
  tokens: Tensor,
): Tensor {
  const [q, k, v] = split(linear(norm(norm1, tokens), attn.qkv.weight, attn.qkv.bias), 3, -1) as [
    Tensor,
    Tensor,
    Tensor,
  ]; // [B, N, C]
  const attended = scaledDotProductAttention(q, k, v, { heads });
  const x = add(tokens, linear(attended, attn.proj.weight, attn.proj.bias));
  const inner = gelu(linear(norm(norm2, x), mlp.fc1.weight, mlp.fc1.bias)); // [B, N, inner]
  return add(x, linear(inner, mlp.fc2.weight, mlp.fc2.bias));
}

const norm = ({ weight, bias }: NormParams, x: Tensor) => layerNorm(x, weight, bias, { eps: EPS });
