import {
  add,
  concat,
  div,
  relu,
  reshape,
  sigmoid,
  slice,
  sub,
  tile,
  type Tensor,
  type Tensor1D,
  type Tensor3D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { gelu, layerNorm, linear, resize, scaledDotProductAttention, type Size } from '@alignprop/autograd-ext';
import type { ParamsSpec } from '@alignprop/autograd-ext/weights';
import {
  embedPatches,
  linearSpec,
  normSpec,
  repeatSpec,
  type LinearParams,
  type NormParams,
} from '@alignprop/diffusion/clip';
import type { YolosConfig } from './yolos-config.js';

/** The weights of a `YolosLayer`. */
type YolosLayerParams = {
  attention: {
    attention: { query: LinearParams; key: LinearParams; value: LinearParams };
    output: { dense: LinearParams };
  };
  intermediate: { dense: LinearParams };
  output: { dense: LinearParams };
  layernorm_before: NormParams;
  layernorm_after: NormParams;
};

/** The weights of `YolosEmbeddings`. */
type YolosEmbeddingsParams = {
  cls_token: Tensor3D; // [1, 1, C]
  detection_tokens: Tensor3D; // [1, D, C]
  patch_embeddings: { projection: { weight: Tensor4D; bias: Tensor1D } };
  position_embeddings: Tensor3D; // [1, 1 + N + D, C]
};

/** The weights of a head: three linear maps with ReLU between them. */
type YolosHeadParams = { layers: readonly LinearParams[] };

/** The weights of a `YolosForObjectDetection`. */
export type YolosParams = {
  vit: {
    embeddings: YolosEmbeddingsParams;
    // [layers - 1, 1, 1 + N + D, C]
    encoder: { layer: readonly YolosLayerParams[]; mid_position_embeddings?: Tensor4D };
    layernorm: NormParams;
  };
  class_labels_classifier: YolosHeadParams;
  bbox_predictor: YolosHeadParams;
};

/** The keys and shapes of the weights. */
export function yolosSpec(config: YolosConfig) {
  const {
    hidden_size: width,
    num_hidden_layers: depth,
    patch_size: patch,
    num_channels,
    num_detection_tokens: detections,
    image_size,
  } = config;
  const [rows, columns] = grid(config, image_size as Size);
  const tokens = 1 + rows * columns + detections;
  return {
    vit: {
      embeddings: {
        cls_token: { shape: [1, 1, width] },
        detection_tokens: { shape: [1, detections, width] },
        patch_embeddings: {
          projection: { weight: { shape: [width, num_channels, patch, patch] }, bias: { shape: [width] } },
        },
        position_embeddings: { shape: [1, tokens, width] },
      },
      encoder: {
        layer: repeatSpec(depth, () => layerSpec(config)),
        ...(config.use_mid_position_embeddings && {
          mid_position_embeddings: { shape: [depth - 1, 1, tokens, width] },
        }),
      },
      layernorm: normSpec(width),
    },
    class_labels_classifier: headSpec(width, Object.keys(config.id2label).length + 1),
    bbox_predictor: headSpec(width, 4),
  } satisfies ParamsSpec;
}

function layerSpec({ hidden_size: width, intermediate_size: inner, qkv_bias: bias }: YolosConfig): ParamsSpec {
  const input = () => linearSpec(width, width, { bias });
  return {
    attention: {
      attention: { query: input(), key: input(), value: input() },
      output: { dense: linearSpec(width, width) },
    },
    intermediate: { dense: linearSpec(width, inner) },
    output: { dense: linearSpec(inner, width) },
    layernorm_before: normSpec(width),
    layernorm_after: normSpec(width),
  };
}

const headSpec = (width: number, outputs: number) => ({
  layers: [linearSpec(width, width), linearSpec(width, width), linearSpec(width, outputs)],
});

/**
 * Preprocesses images: resizes to `height` and the width that keeps the aspect ratio, at least one patch, and
 * normalises with ImageNet's mean and standard deviation.
 * @param images `[B, H, W, 3]` in [0, 1]
 */
export function yolosPixels({ patch_size }: YolosConfig, images: Tensor4D, height: number): Tensor4D {
  const [, rows, columns] = images.shape;
  const width = Math.max(patch_size, Math.floor((height * columns) / rows));
  const resized = resize(images, [height, width], { mode: 'bilinear', antialias: false });
  return div(sub(resized, [0.485, 0.456, 0.406]), [0.229, 0.224, 0.225]);
}

/**
 * The transformer of transformers' `YolosForObjectDetection` (You Only Look at One Sequence, arXiv 2106.00666, §2.1): a
 * ViT with additional detection tokens, one for each box.
 * @param pixels `[B, H, W, 3]`, normalised, at least one patch high and wide; pixels beyond whole patches are ignored
 * @returns the detection tokens, normalised, `[B, D, C]`
 */
export function yolosDetections(config: YolosConfig, params: Pick<YolosParams, 'vit'>, pixels: Tensor4D): Tensor3D {
  const { embeddings, encoder, layernorm } = params.vit;
  const [batch, height, width] = pixels.shape;
  const mid =
    encoder.mid_position_embeddings && interpolate(config, squeezed(encoder.mid_position_embeddings), [height, width]);
  let x: Tensor = embed(config, embeddings, pixels);
  encoder.layer.forEach((layer, i) => {
    x = yolosLayer(config, layer, x);
    if (mid && i < encoder.layer.length - 1) x = add(x, slice(mid, [i, 0, 0], [1, -1, -1]));
  });
  const [, tokens, channels] = x.shape as [number, number, number];
  const last = slice(
    x as Tensor3D,
    [0, tokens - config.num_detection_tokens, 0],
    [batch, config.num_detection_tokens, channels],
  );
  return norm(config, layernorm, last) as Tensor3D;
}

/** The logits of every class and, last, of no object: `[B, D, K + 1]`. */
export function yolosLogits(params: Pick<YolosParams, 'class_labels_classifier'>, detections: Tensor3D): Tensor3D {
  return head(params.class_labels_classifier, detections);
}

/** Each box's centre x, centre y, width and height as fractions of the image: `[B, D, 4]`. */
export function yolosBoxes(params: Pick<YolosParams, 'bbox_predictor'>, detections: Tensor3D): Tensor3D {
  return sigmoid(head(params.bbox_predictor, detections));
}

function head({ layers }: YolosHeadParams, x: Tensor3D): Tensor3D {
  return layers.reduce<Tensor>((y, { weight, bias }, i) => linear(i ? relu(y) : y, weight, bias), x) as Tensor3D;
}

/** Class token, patches and detection tokens plus their position embeddings: `[B, 1 + N + D, C]`. */
function embed(config: YolosConfig, params: YolosEmbeddingsParams, pixels: Tensor4D): Tensor3D {
  const { cls_token, detection_tokens, patch_embeddings, position_embeddings } = params;
  const [batch, height, width] = pixels.shape;
  const { weight, bias } = patch_embeddings.projection;
  const repeated = (token: Tensor3D) => tile(token, [batch, 1, 1]);
  const tokens = concat([repeated(cls_token), embedPatches(pixels, weight, bias), repeated(detection_tokens)], 1);
  return add(tokens, interpolate(config, position_embeddings, [height, width]));
}

/**
 * Resizes position embeddings `[L, 1 + N + D, C]` to an image of another size: those of the patches as an image, the
 * others unchanged.
 */
function interpolate(config: YolosConfig, positions: Tensor3D, size: Size): Tensor3D {
  const { num_detection_tokens: detections, hidden_size: channels } = config;
  const [rows, columns] = grid(config, config.image_size as Size);
  const [layers, tokens] = positions.shape;
  const patches = reshape(slice(positions, [0, 1, 0], [layers, rows * columns, channels]), [
    layers,
    rows,
    columns,
    channels,
  ]) as Tensor4D;
  const resized = reshape(resize(patches, grid(config, size), { mode: 'bicubic', antialias: false }), [
    layers,
    -1,
    channels,
  ]);
  const [first, last] = [
    slice(positions, [0, 0, 0], [layers, 1, channels]),
    slice(positions, [0, tokens - detections, 0], [layers, detections, channels]),
  ];
  return concat([first, resized as Tensor3D, last], 1);
}

const grid = ({ patch_size }: YolosConfig, [height, width]: Size): Size => [
  Math.floor(height / patch_size),
  Math.floor(width / patch_size),
];
const squeezed = (positions: Tensor4D): Tensor3D =>
  reshape(positions, [positions.shape[0], positions.shape[2], positions.shape[3]]);
const norm = ({ layer_norm_eps: eps }: YolosConfig, { weight, bias }: NormParams, x: Tensor) =>
  layerNorm(x, weight, bias, { eps });

/** transformers' `YolosLayer`: attention and MLP, each on normalised tokens with a residual connection. */
function yolosLayer(
  config: YolosConfig,
  { attention, intermediate, output, layernorm_before, layernorm_after }: YolosLayerParams,
  tokens: Tensor,
): Tensor {
  const normed = norm(config, layernorm_before, tokens);
  const { query, key, value } = attention.attention;
  const [q, k, v] = [query, key, value].map(({ weight, bias }) => linear(normed, weight, bias)) as [
    Tensor,
    Tensor,
    Tensor,
  ]; // [B, N, C]
  const attended = scaledDotProductAttention(q, k, v, { heads: config.num_attention_heads });
  const x = add(tokens, linear(attended, attention.output.dense.weight, attention.output.dense.bias));
  // [B, N, inner]
  const inner = gelu(linear(norm(config, layernorm_after, x), intermediate.dense.weight, intermediate.dense.bias));
  return add(x, linear(inner, output.dense.weight, output.dense.bias));
}
