/**
 * Lets the program end in its own way where its output goes to a pipe that was closed, as by `| head`: without this,
 * the next write ends it with a stack trace.
 */
export function surviveClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
    });
}
