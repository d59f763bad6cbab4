/** A torch file that cannot be read: every fault of a file's contents throws this. The message says what to do. */
export class TorchFileError extends Error {
  override readonly name = 'TorchFileError';

  /** @param advice what to do, '' if the problem says it */
  constructor(problem: string, advice = 'The file is damaged: download it again.', options?: ErrorOptions) {
    const message = advice ? `${problem} ${advice}` : problem;
    super(message.replace(/\p{Cc}/gu, '?'), options); // names in the file may hold a terminal's control characters
  }
}
