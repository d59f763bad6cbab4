import type { StoredTensor } from '@alignprop/autograd-ext';
import { record, table } from '@alignprop/autograd-ext/outside';

/**
 * The embedding of a token by the text encoder that it belongs to (`text_encoder`, `text_encoder_2`): `[vectors,
 * hidden]`.
 */
export type BundledEmbedding = Readonly<Record<string, StoredTensor>>;

/** The text encoders of the tensors of an embedding, as A1111 and OneTrainer name them. */
const encoders = table<string>({
  'string_to_param.*': 'text_encoder',
  emb_params: 'text_encoder',
  clip_l: 'text_encoder',
  clip_g: 'text_encoder_2',
});

/**
 * Separates the embeddings that A1111 and OneTrainer put into LoRA files, `bundle_emb.<token>.string_to_param.*`, from
 * the other tensors.
 */
export function splitEmbeddings(tensors: ReadonlyMap<string, StoredTensor>): {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly embeddings: Readonly<Record<string, BundledEmbedding>>;
} {
  const others = new Map<string, StoredTensor>();
  const embeddings = record<Record<string, StoredTensor>>();
  for (const [key, tensor] of tensors) {
    const [, token, name] = /^bundle_emb\.(.+?)\.(string_to_param\.\*|[^.]+)$/.exec(key) ?? [];
    if (token && name) (embeddings[token] ??= record())[encoders[name] ?? name] = tensor;
    else others.set(key, tensor);
  }
  return { tensors: others, embeddings };
}
