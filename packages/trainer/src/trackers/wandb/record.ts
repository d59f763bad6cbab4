import { encodeMessage, field, message, type Fields, type Writer } from '../protobuf.js';

// Field numbers of W&B's wandb_internal.proto, as its client 0.30 has them.

/** Values by name, written as JSON. */
type Values = Readonly<Record<string, unknown>>;

/** The run as its first record describes it. */
export interface RunDescription {
  readonly id: string;
  readonly project: string;
  readonly config: Values;
  readonly entity?: string;
  readonly group?: string;
  readonly job_type?: string;
  readonly name?: string;
  readonly notes?: string;
  readonly tags?: readonly string[];
  readonly host: string;
  readonly startingStep: number;
  /** Seconds since 1970. */
  readonly startTime: number;
}

/** The machine, as the page "System" of a run shows it. */
export interface Environment {
  readonly os: string;
  readonly host: string;
  readonly executable: string;
  readonly program: string;
  readonly cpuCount: number;
  /** Bytes. */
  readonly memory: number;
  readonly startTime: number;
}

/** A table that the page "Artifacts" of a run lists. */
export interface TableArtifact {
  readonly run: Pick<RunDescription, 'id' | 'project' | 'entity'>;
  readonly key: string;
  /** The MD5 of its manifest, in hexadecimal digits. */
  readonly digest: string;
  readonly clientId: string;
  readonly sequenceClientId: string;
  readonly file: { readonly name: string; readonly path: string; readonly size: number; readonly md5: string };
}

/** A record without its number. */
export type RecordContent = Fields;

export const headerRecord = (): RecordContent => (writer) =>
  message(writer, 21, (header) =>
    message(header, 1, (version) =>
      version.uint32(field(1, 2)).string('alignprop').uint32(field(2, 2)).string('0.70.0'),
    ),
  );

export const runRecord =
  (run: RunDescription): RecordContent =>
  (writer) =>
    message(writer, 17, (fields) => {
      text(fields, 1, run.id);
      text(fields, 2, run.entity);
      text(fields, 3, run.project);
      message(fields, 4, (config) => items(config, 1, run.config));
      text(fields, 6, run.group);
      text(fields, 7, run.job_type);
      text(fields, 8, run.name);
      text(fields, 9, run.notes);
      for (const tag of run.tags ?? []) text(fields, 10, tag);
      text(fields, 13, run.host);
      fields.uint32(field(14, 0)).int64(run.startingStep);
      message(fields, 17, (time) => timestamp(time, run.startTime));
    });

export const environmentRecord =
  (machine: Environment): RecordContent =>
  (writer) =>
    message(writer, 26, (fields) => {
      text(fields, 1, machine.os);
      message(fields, 3, (time) => timestamp(time, machine.startTime));
      text(fields, 6, machine.program);
      text(fields, 12, machine.host);
      text(fields, 14, machine.executable);
      fields.uint32(field(16, 0)).uint32(machine.cpuCount).uint32(field(17, 0)).uint32(machine.cpuCount);
      message(fields, 21, (memory) => memory.uint32(field(1, 0)).uint64(machine.memory));
      text(fields, 199, machine.host); // whose record it is, where several machines write one run
    });

/** A row of the history. @param step becomes `_step` */
export const historyRecord =
  (values: Values, step: number): RecordContent =>
  (writer) =>
    message(writer, 2, (fields) => {
      items(fields, 1, { _step: step, ...values });
      message(fields, 2, (record) => record.uint32(field(1, 0)).int64(step));
    });

export const summaryRecord =
  (values: Values): RecordContent =>
  (writer) =>
    message(writer, 3, (fields) => items(fields, 1, values));

/** Names files below `files/`, which are uploaded with the run. */
export const filesRecord =
  (paths: readonly string[]): RecordContent =>
  (writer) =>
    message(writer, 6, (fields) => {
      for (const path of paths)
        message(fields, 1, (item) => {
          text(item, 1, path);
          item.uint32(field(3, 0)).int32(2); // MEDIA
        });
    });

export const artifactRecord =
  ({ run, key, digest, clientId, sequenceClientId, file }: TableArtifact): RecordContent =>
  (writer) =>
    message(writer, 8, (fields) => {
      text(fields, 1, run.id);
      text(fields, 2, run.project);
      text(fields, 3, run.entity);
      text(fields, 4, 'run_table');
      text(fields, 5, `run-${run.id}-${key}`);
      text(fields, 6, digest);
      text(fields, 11, 'latest');
      message(fields, 12, (manifest) => {
        manifest.uint32(field(1, 0)).int32(1);
        text(manifest, 2, 'wandb-storage-policy-v1');
        message(manifest, 3, (policy) => {
          text(policy, 1, 'storageLayout');
          text(policy, 2, '"V2"');
        });
        message(manifest, 4, (entry) => {
          text(entry, 1, file.name);
          text(entry, 2, file.md5);
          entry.uint32(field(4, 0)).int64(file.size);
          text(entry, 6, file.path);
        });
      });
      fields.uint32(field(14, 0)).bool(true); // finalize
      text(fields, 15, clientId);
      text(fields, 16, sequenceClientId);
      text(fields, 20, 'MANIFEST_MD5');
    });

/** Marks the run as finished with status 0. @param seconds how long it took */
export const exitRecord =
  (seconds: number): RecordContent =>
  (writer) =>
    message(writer, 18, (exit) => exit.uint32(field(2, 0)).int32(Math.round(seconds)));

export const footerRecord = (): RecordContent => (writer) => message(writer, 22, () => {});

/** Encodes a record. @param number counts the records of the run from 1 */
export const encodeRecord = (number: number, content: RecordContent): Uint8Array =>
  encodeMessage((writer) => {
    writer.uint32(field(1, 0)).int64(number);
    content(writer);
  });

/** Writes a string unless it is undefined or empty. */
function text(writer: Writer, id: number, value: string | undefined): void {
  if (value) writer.uint32(field(id, 2)).string(value);
}

function items(writer: Writer, id: number, values: Values): void {
  for (const [key, value] of Object.entries(values)) {
    message(writer, id, (item) => {
      text(item, 1, key);
      text(item, 16, asJson(value));
    });
  }
}

/** JSON with NaN and Infinity, as Python writes and W&B reads them. */
const asJson = (value: unknown): string =>
  typeof value === 'number' && !Number.isFinite(value) ? String(value) : (JSON.stringify(value) ?? 'null');

function timestamp(writer: Writer, seconds: number): void {
  const whole = Math.floor(seconds);
  writer
    .uint32(field(1, 0))
    .int64(whole)
    .uint32(field(2, 0))
    .int32(Math.floor((seconds - whole) * 1e9));
}
