import { z } from 'zod';
import type { TrackerKind } from './tracker-kind.js';

const options = z.strictObject({
  logging_dir: z.string().optional().describe('folder in place of output_dir'),
});

/** `log_with: 'tensorboard'`: an event file for each start, in a folder named after the project, as accelerate does. */
export const tensorboard = {
  description: "TensorBoard's event files in <output_dir>/<tracker_project_name>",
  options,
  packages: ['protobufjs'],
  async create({ folder, config, fromStep }, given) {
    const { logging_dir } = options.parse(given ?? {});
    const { tensorboardTracker } = await import('./tensorboard/tracker.js');
    const parent = logging_dir ?? config.project_kwargs.logging_dir ?? folder?.path ?? config.logdir;
    return tensorboardTracker(`${parent}/${config.tracker_project_name}`, { config, fromStep });
  },
} satisfies TrackerKind;
