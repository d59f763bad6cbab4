import { z } from 'zod';
import type { TrackerKind } from './tracker-kind.js';

const text = z.string().min(1).optional();
const options = z.strictObject({
  project: text.describe('in place of WANDB_PROJECT and tracker_project_name'),
  entity: text.describe('user or team, in place of WANDB_ENTITY'),
  name: text.describe('name of the run, in place of WANDB_NAME and run_name'),
  dir: text.describe('folder in place of WANDB_DIR and output_dir'),
  id: text.describe('id of the run, in place of WANDB_RUN_ID'),
  group: text.describe('in place of WANDB_RUN_GROUP'),
  job_type: text.describe('in place of WANDB_JOB_TYPE'),
  notes: text.describe('in place of WANDB_NOTES'),
  tags: z.array(z.string()).optional().describe('in place of WANDB_TAGS'),
  mode: z.enum(['online', 'offline', 'disabled']).optional().describe('in place of WANDB_MODE'),
});
type Options = z.output<typeof options>;

/** `log_with: 'wandb'`: a run of Weights & Biases in its offline format, which `wandb sync` uploads. */
export const wandb = {
  description: "a folder in Weights & Biases' offline format, which `wandb sync` uploads",
  options,
  packages: ['protobufjs'],
  async create({ folder, config, fromStep, warn, info }, given) {
    const { mode, dir, id, ...named } = withEnvironment(options.parse(given ?? {}));
    if (mode === 'disabled') return undefined;
    const { wandbTracker } = await import('./wandb/tracker.js');
    const tracker = await wandbTracker(
      {
        ...named,
        project: named.project ?? config.tracker_project_name,
        name: named.name ?? (config.run_name || undefined),
        id: checkedId(id),
        config,
      },
      { dir: dir ?? folder?.path ?? config.logdir, fromStep, idFile: folder && `${folder.path}/wandb/run-id.json` },
    );
    const command = `wandb sync ${tracker.folder}`;
    if (mode === 'online')
      warn(`log_with 'wandb': got mode 'online', but runs are written offline. Upload this one with: ${command}`);
    return {
      ...tracker,
      async close() {
        await tracker.close();
        info(`Upload the run to Weights & Biases with: ${command}`);
      },
    };
  },
} satisfies TrackerKind;

/** Fills what the options leave out with W&B's environment variables. @throws if WANDB_MODE is unknown */
function withEnvironment(given: Options): Options {
  const { env } = process;
  const of = (name: string) => env[name] || undefined;
  return {
    project: given.project ?? of('WANDB_PROJECT'),
    entity: given.entity ?? of('WANDB_ENTITY'),
    name: given.name ?? of('WANDB_NAME'),
    dir: given.dir ?? of('WANDB_DIR'),
    id: given.id ?? of('WANDB_RUN_ID'),
    group: given.group ?? of('WANDB_RUN_GROUP'),
    job_type: given.job_type ?? of('WANDB_JOB_TYPE'),
    notes: given.notes ?? of('WANDB_NOTES'),
    tags: given.tags ?? of('WANDB_TAGS')?.split(','),
    mode: given.mode ?? modeOfEnvironment(of('WANDB_MODE')),
  };
}

/** W&B's older name `dryrun` means offline. */
function modeOfEnvironment(mode: string | undefined): Options['mode'] {
  const { success, data } = options.shape.mode.safeParse(mode === 'dryrun' ? 'offline' : mode);
  if (success) return data;
  throw new Error(`WANDB_MODE: got '${mode}', expected online, offline or disabled. Change or unset it.`);
}

/** The id becomes part of a folder's name. */
function checkedId(id: string | undefined): string | undefined {
  if (id === undefined || /^[\w-]{1,128}$/.test(id)) return id;
  throw new Error(`tracker_kwargs.wandb.id: got '${id}', expected at most 128 letters, digits, _ and -.`);
}
