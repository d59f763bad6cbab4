import type { StoredTensor } from '@alignprop/autograd-ext';

/**
 * The name of a tensor that a file can hold for one module, spelled as in the files: LoRA's matrices (`lora_mid` is
 * LoCon's third), its bias, DoRA's lengths (kohya's `dora_scale` or peft's `lora_magnitude_vector`), LoHa's and LoKr's
 * factors, (IA)³'s factors (peft's `ia3_l`, or LyCORIS' `weight` with `on_input`), and differences of weight and bias.
 */
export type AdapterPart =
  | 'lora_A'
  | 'lora_B'
  | 'lora_mid'
  | 'lora_B.bias'
  | 'alpha'
  | 'dora_scale'
  | 'lora_magnitude_vector'
  | 'hada_w1_a'
  | 'hada_w1_b'
  | 'hada_w2_a'
  | 'hada_w2_b'
  | 'hada_t1'
  | 'hada_t2'
  | 'lokr_w1'
  | 'lokr_w1_a'
  | 'lokr_w1_b'
  | 'lokr_w2'
  | 'lokr_w2_a'
  | 'lokr_w2_b'
  | 'lokr_t2'
  | 'ia3_l'
  | 'weight'
  | 'on_input'
  | 'diff'
  | 'diff_b';

/** The tensors of one adapted module. */
export type AdapterParts = Readonly<Partial<Record<AdapterPart, StoredTensor>>>;
