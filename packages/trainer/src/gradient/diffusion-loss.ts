import {
  dispose,
  mean,
  mul,
  scalar,
  square,
  sub,
  tensor1d,
  tidy,
  type Tensor,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import type { Vjp } from '@alignprop/autograd-ext';
import { guidedInputs, type Conditioning } from '@alignprop/diffusion';
import type { Gradients } from '../optim/gradients.js';
import { NonFiniteError } from '../optim/non-finite.js';
import type { GuidedUNet } from './guided-unet.js';
import { TensorScope } from './tensor-scope.js';
import type { TextEncoderGradient } from './text-encoder-gradient.js';

/** Noised pictures with captions, and what the model should predict of them. Tensors stay the caller's. */
export interface NoisedPictures {
  /** `[B, h, w, C]`, as the UNet takes them. */
  readonly latents: Tensor4D;
  /** One per picture, in [0, num_train_timesteps). */
  readonly timesteps: readonly number[];
  /** `[B, h, w, C]` */
  readonly target: Tensor4D;
  /** One per picture: the texts of `conditioning`. */
  readonly captions: readonly string[];
  readonly conditioning: Conditioning;
}

/** The gradients of the loss, which belong to the caller, and its value. */
export interface DiffusionLossGradients {
  readonly params: Gradients;
  /** The mean squared error, without the scale. */
  readonly loss: number;
}

/**
 * The loss that diffusion models are trained with (arXiv 2006.11239, eq. 14): the mean squared error of the prediction,
 * over elements and pictures, as in diffusers' training scripts. Predicts without guidance.
 */
export class DiffusionLoss {
  constructor(
    readonly unet: GuidedUNet,
    readonly textEncoder: TextEncoderGradient,
  ) {}

  /**
   * Computes dL/dθ by parameter path, L = scale · the mean squared error.
   * @throws NonFiniteError if the error is NaN or infinite; nothing stays allocated then
   */
  async gradients(pictures: NoisedPictures, scale: number): Promise<DiffusionLossGradients> {
    const { captions, conditioning, latents, timesteps, target } = pictures;
    const scope = new TensorScope();
    try {
      const given = scope.own(guidedInputs(this.unet.pipeline.unet.config, conditioning, withoutGuidance));
      const times = scope.own(tensor1d([...timesteps], 'float32'));
      const inputScale = given.added.length > 0 ? [scope.own(scalar(1))] : [];
      const inputs = [latents, times, given.embeds, given.guidanceScale, ...inputScale, ...given.added];
      let loss = NaN;
      const vjp = await this.#vjp(inputs, async (prediction) => {
        loss = await meanSquaredError(prediction, target);
        if (!Number.isFinite(loss))
          throw new NonFiniteError(
            `the diffusion loss of the captions ${captions.map((text) => `'${text}'`).join(', ')} is ${loss}.`,
          );
        return scope.own(tidy(() => mul(sub(prediction, target), (2 * scale) / target.size)));
      });
      return {
        params: await this.textEncoder.backward(this.#byPath(vjp), { negativePrompts: undefined, prompts: captions }),
        loss,
      };
    } finally {
      scope.dispose();
    }
  }

  /** Predicts, and multiplies the Jacobian with a function of the prediction. Saves the activations if they fit. */
  async #vjp(
    inputs: readonly Tensor[],
    gradientOf: (prediction: Tensor) => Promise<Tensor>,
  ): Promise<Pick<Vjp, 'params' | 'inputs'>> {
    const { params } = this.unet.pipeline.unet;
    const vjp = this.unet.vjp({ withLatents: false });
    const activations = await vjp.forward?.(params, inputs);
    const [prediction] = activations?.outputs ?? (await this.unet.predict(params, ...inputs));
    try {
      const dy = await gradientOf(prediction!);
      if (activations) return await activations.backward(dy);
      const { value, ...gradients } = await vjp(params, inputs, dy);
      value.dispose();
      return gradients;
    } finally {
      prediction!.dispose();
      activations?.release();
    }
  }

  /** Gradients by path: those of the weights, and those of the embeddings for text encoders that are trained. */
  #byPath({ params, inputs }: Pick<Vjp, 'params' | 'inputs'>): Gradients {
    const { encodedPaths } = this.unet;
    const first = inputs.length - encodedPaths.length;
    dispose(inputs.slice(0, first));
    return { ...params, ...Object.fromEntries(encodedPaths.map((path, i) => [path, inputs[first + i]!])) };
  }
}

/** A scale that turns guidance off. */
const withoutGuidance = 1;

async function meanSquaredError(prediction: Tensor, target: Tensor): Promise<number> {
  const error = tidy(() => mean(square(sub(prediction, target))));
  const [value] = await error.data();
  error.dispose();
  return value!;
}
