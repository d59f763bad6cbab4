import type { StepMetrics } from '@alignprop/trainer';
import type { Settings } from './settings.js';

/** A task for the worker. It works on one at a time. */
export type Task =
  | ({ readonly kind: 'open' } & Opening)
  | ({ readonly kind: 'draw'; readonly adapter?: AdapterFile } & Drawing)
  | ({ readonly kind: 'train'; readonly adapter?: AdapterFile } & Training);

/** A model to open, and the engine for it. */
export interface Opening {
  /** A hub id; undefined for the embedded model. */
  readonly model?: string;
  /** `webgpu`, `onnxruntime` or `tfjs`; by default `onnxruntime`, or what works here. */
  readonly engine?: string;
}

/** Pictures to draw, one for each prompt. */
export interface Drawing {
  readonly prompts: readonly string[];
  readonly settings: Settings;
}

/** A training run. */
export interface Training extends Drawing {
  /** The text of the reward: an expression whose value is a function. */
  readonly reward: string;
}

/** The bytes of a LoRA file. */
export type AdapterFile = Uint8Array<ArrayBuffer>;

/** A picture, with the prompt that it was drawn for. */
export interface Picture {
  readonly prompt: string;
  readonly image: ImageData;
  /** The score of the reward, of pictures in training. */
  readonly reward?: number;
}

/** The opened model. */
export interface OpenedModel {
  readonly name: string;
  /** The engine that computes, and its device. */
  readonly engine: string;
  /** Says why it is a slower engine than the one that was asked for; '' if it is not. */
  readonly remark: string;
  /** The denoising steps that suit it; undefined for those of the page. */
  readonly denoisingSteps?: number;
}

/** The news that the worker sends while it works on a task. */
export type Report =
  | { readonly kind: 'loaded'; readonly bytes: number; readonly total: number }
  | {
      readonly kind: 'step';
      readonly metrics: StepMetrics;
      /** The pictures that the step was computed from, drawn before it. */
      readonly pictures: readonly Picture[];
      /** The adapter after the step. */
      readonly adapter: AdapterFile;
    };

/** The end of a task. A stopped one is done, with what it has so far. */
export type Outcome =
  | { readonly kind: 'done'; readonly result: OpenedModel | readonly Picture[] | undefined }
  | (Failure & { kind: 'failed' });

/** An error of a task. */
export interface Failure {
  readonly message: string;
  /** The line of the reward's text that it comes from, from 1. Undefined for all other errors. */
  readonly line?: number;
}
