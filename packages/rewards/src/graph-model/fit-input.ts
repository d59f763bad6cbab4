import { resize } from '@alignprop/autograd-ext';
import { add, mul, reverse, sum, tensor1d, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';

/** The input that a model was trained on. */
export interface InputFormat {
  /** The values of black and white. */
  readonly range?: readonly [black: number, white: number];
  /** The order of the three channels. */
  readonly colours?: 'rgb' | 'bgr';
  /** Height and width in pixels, for models that take any size. */
  readonly size?: readonly [height: number, width: number];
}

/**
 * Maps images `[B, H, W, 3]` in [0, 1] to the input of a model. `inputShape` is -1 where any size is possible.
 */
export type Transform = (images: Tensor4D, inputShape: readonly number[]) => Tensor;

/**
 * Creates a transform that resizes images to the model's input (bilinear with antialiasing, so that every pixel has a
 * gradient; ignores the aspect ratio), converts them to grey (0.299 R + 0.587 G + 0.114 B) where it has one channel,
 * and maps [0, 1] to `range`.
 */
export function fitInput({ range: [black, white] = [0, 1], colours = 'rgb', size }: InputFormat = {}): Transform {
  return (images, [, height = -1, width = -1, channels = 3]) => {
    const [h, w] = [height, width].map((pixels, i) => (pixels > 0 ? pixels : (size?.[i] ?? images.shape[i + 1]!))) as [
      number,
      number,
    ];
    const fitting =
      images.shape[1] === h && images.shape[2] === w ? images : resize(images, [h, w], { mode: 'bilinear' });
    const coloured =
      channels === 1
        ? sum(mul(fitting, tensor1d([0.299, 0.587, 0.114])), -1, true)
        : colours === 'bgr'
          ? reverse(fitting, -1)
          : fitting;
    return black === 0 && white === 1 ? coloured : add(mul(coloured, white - black), black);
  };
}
