import { table } from '@alignprop/autograd-ext/outside';
/**
 * Names of options in other programs (diffusers, its training scripts, kohya's, A1111, ComfyUI, TRL), as flags without
 * dashes in front, each with the options that mean the same here. The first one that a command has is suggested.
 */
export const otherOptionNames = table<readonly string[]>({
  ...namesOf(['train-learning-rate'], ['lr', 'learning-rate', 'unet-lr', 'learning-rate-unet', 'network-lr']),
  ...namesOf(['num-epochs'], ['epochs', 'epoch', 'num-train-epochs', 'max-train-epochs', 'train-epochs', 'n-epochs']),
  ...namesOf(['num-epochs'], ['max-train-steps', 'train-steps', 'max-steps', 'num-train-steps', 'iterations', 'iters']),
  ...namesOf(['train-batch-size', 'num-images'], ['batch-size', 'bs', 'batch', 'batch-count', 'n-iter', 'n-samples']),
  ...namesOf(['train-batch-size', 'num-images'], ['per-device-train-batch-size', 'sample-batch-size']),
  ...namesOf(['num-images'], ['num-images-per-prompt', 'num-samples', 'images-per-prompt']),
  ...namesOf(['train-gradient-accumulation-steps'], ['gradient-accumulation-steps', 'grad-accum', 'accumulation']),
  ...namesOf(['train-max-grad-norm'], ['max-grad-norm', 'grad-clip', 'clip-grad-norm', 'gradient-clipping']),
  ...namesOf(['train-adam-weight-decay'], ['weight-decay', 'adam-weight-decay', 'wd']),
  ...namesOf(['lora-rank'], ['rank', 'r', 'network-dim', 'dim', 'lora-r', 'lora-dim']),
  ...namesOf(['lora-alpha'], ['alpha', 'network-alpha']),
  ...namesOf(['lora-target-modules'], ['target-modules']),
  ...namesOf(['lora', 'resume-from'], ['lora-weights', 'lora-path', 'lora-model', 'network-weights', 'adapter']),
  ...namesOf(['lora', 'resume-from'], ['lora-model-id', 'lora-model-path', 'adapter-path', 'load-lora-weights']),
  ...namesOf(['lora-scale', 'lora-alpha'], ['lora-weight', 'lora-strength', 'strength-model', 'network-mul']),
  ...namesOf(['guidance-scale', 'sample-guidance-scale'], ['cfg', 'cfg-scale', 'scale', 'guidance']),
  ...namesOf(['steps', 'sample-num-steps'], ['num-inference-steps', 'inference-steps', 'num-steps', 'ddim-steps']),
  ...namesOf(['steps', 'sample-num-steps'], ['sampling-steps', 'sample-steps', 'n-steps', 'denoising-steps']),
  ...namesOf(['eta', 'sample-eta'], ['ddim-eta']),
  ...namesOf(['negative-prompt', 'negative-prompts'], ['negative', 'neg', 'n', 'neg-prompt', 'uncond']),
  ...namesOf(['scheduler'], ['sampler', 'sampler-name', 'sampling-method']),
  ...namesOf(['height'], ['h', 'resolution', 'size', 'image-size', 'img-size']),
  ...namesOf(['width'], ['w']),
  ...namesOf(['prompt'], ['p', 'text', 'positive', 'caption']),
  ...namesOf(['prompts'], ['prompt-file', 'prompts-file', 'prompt-fn', 'from-file', 'dataset', 'dataset-name']),
  ...namesOf(['prompts'], ['train-data-dir', 'prompt-dataset']),
  ...namesOf(['eval-prompts'], ['validation-prompt', 'validation-prompts', 'eval-prompt', 'sample-prompts']),
  ...namesOf(['eval-freq'], ['validation-epochs', 'validation-steps', 'eval-every', 'eval-steps']),
  ...namesOf(['save-freq'], ['save-every', 'save-steps', 'checkpointing-steps', 'save-every-n-epochs']),
  ...namesOf(['num-checkpoint-limit'], ['checkpoints-total-limit', 'save-total-limit', 'save-last-n-epochs']),
  ...namesOf(['resume-from'], ['resume', 'resume-from-checkpoint', 'checkpoint', 'ckpt-path']),
  ...namesOf(['model'], ['pretrained-model-name-or-path', 'model-id', 'model-name', 'base-model', 'm', 'ckpt']),
  ...namesOf(['model'], ['model-path', 'pretrained', 'checkpoint-path']),
  ...namesOf(['output-dir', 'output'], ['o', 'out', 'out-dir', 'outdir', 'outputs', 'logging-dir', 'save-dir']),
  ...namesOf(
    ['output', 'output-dir'],
    ['save-path', 'output-path', 'output-file', 'output-name', 'filename', 'outfile'],
  ),
  ...namesOf(['overwrite-output-dir'], ['overwrite', 'force-overwrite']),
  ...namesOf(['reward'], ['reward-fn', 'reward-function', 'reward-funcs', 'reward-model', 'score', 'metric', 'loss']),
  ...namesOf(['mixed-precision'], ['dtype', 'precision', 'torch-dtype', 'fp16', 'half', 'bf16']),
  ...namesOf(['log-with'], ['report-to', 'tracker', 'logger']),
  ...namesOf(['embedding'], ['textual-inversion', 'ti', 'embeddings']),
  ...namesOf(['device'], ['gpu', 'cuda']),
  ...namesOf(['threads'], ['num-threads', 'j', 'workers', 'cpu-threads']),
  ...namesOf(['output'], ['output-dir', 'output-folder']),
  ...namesOf(['prompt'], ['prompts']),
  ...namesOf(['quiet'], ['q', 'silent']),
  ...namesOf(['debug'], ['verbose', 'v']),
  ...namesOf(['format'], ['to', 'save-format', 'type']),
  ...namesOf(['mix-coefficient'], ['ratio', 'alpha-mix', 'coefficient']),
});

/** Names of commands in other programs, and other words for them, each with the command that does it here. */
export const otherCommandNames = table<readonly string[]>({
  ...namesOf(['train'], ['finetune', 'fine-tune', 'fit', 'tune', 'learn', 'run', 'dreambooth', 'lora']),
  ...namesOf(['resume'], ['continue', 'restart', 'go-on']),
  ...namesOf(['generate'], ['txt2img', 'text-to-image', 'sample', 'infer', 'inference', 'predict', 'draw', 'image']),
  ...namesOf(['score'], ['evaluate', 'eval', 'rate', 'judge', 'test', 'metrics']),
  ...namesOf(['reward'], ['check', 'rewards', 'new', 'init']),
  ...namesOf(['export'], ['convert', 'save', 'merge', 'mix', 'extract']),
  ...namesOf(['demo'], ['example', 'quickstart', 'tour', 'try', 'hello']),
});

/** Names of rewards elsewhere, each with the reward that is meant. */
export const otherRewardNames = table<readonly string[]>({
  ...namesOf(
    ['aesthetic'],
    ['laion', 'laion-aesthetic', 'aesthetics', 'aesthetic-score', 'beauty', 'improved-aesthetic'],
  ),
  ...namesOf(['clip-score'], ['clip', 'clipscore', 'openclip', 'text-alignment']),
  ...namesOf(['pick-score'], ['pick', 'pickscore', 'pick-a-pic']),
  ...namesOf(['hps-v2'], ['hps', 'hpsv2', 'hps-v2.1', 'hpsv2.1', 'hpdv2']),
  ...namesOf(['image-reward'], ['imagereward', 'ir', 'blip']),
  ...namesOf(['object-detection'], ['yolos', 'yolo', 'detection', 'owl', 'detector']),
  ...namesOf(['jpeg-compressibility'], ['jpeg', 'compressibility', 'compression', 'jpeg-size']),
  ...namesOf(['jpeg-incompressibility'], ['incompressibility']),
  ...namesOf(['nsfw-safety'], ['nsfw', 'safety', 'nsfwjs']),
});

function namesOf(meant: readonly string[], names: readonly string[]): Record<string, readonly string[]> {
  return Object.fromEntries(names.map((name) => [name, meant]));
}
