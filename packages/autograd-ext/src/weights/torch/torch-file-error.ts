import { excerpt } from '../../outside/excerpt.js';

const MAX_MESSAGE = 800;

/** Thrown for every fault in the contents of a torch file. The message says what to do. */
export class TorchFileError extends Error {
  override readonly name = 'TorchFileError';

  /** @param advice what the user should do; '' if `problem` says it */
  constructor(problem: string, advice: string = ADVICE.downloadDamaged, options?: ErrorOptions) {
    const message = advice ? `${problem} ${advice}` : problem;
    super(excerpt(message, MAX_MESSAGE), options); // names in the file may be long, or steer a terminal
  }
}

/** Advice for a user with a faulty file, by kind of fault. */
export const ADVICE = {
  downloadDamaged: 'The file is damaged: download it again.',
  download: 'Download it again.',
  checkFile: 'Check that it is a checkpoint.',
  saveTensors: 'Save the tensors alone: torch.save(module.state_dict(), path).',
  saveLittleEndian: 'Save the file on a little-endian machine.',
  saveTrusted:
    'Python would import and run it. If you trust the file, open it with torch and save its tensors alone: ' +
    'torch.save(module.state_dict(), path), or better as safetensors.',
} as const;
