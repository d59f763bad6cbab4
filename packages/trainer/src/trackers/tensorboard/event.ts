import { encodeMessage, field, message, type Fields, type Writer } from '../protobuf.js';

// Field numbers of tensorflow's event.proto, summary.proto and tensor.proto, and of the HParams plugin's
// plugin_data.proto and api.proto.

/** The contents of an event, without its time. */
export type Content =
  | { readonly fileVersion: string }
  | { readonly restartAt: number }
  | { readonly summaries: readonly Summary[]; readonly step: number };

/** A value with its tag. */
export interface Summary {
  readonly tag: string;
  readonly write: Fields;
}

/** Encodes an event as a protocol buffer. @param wallTime seconds since 1970 */
export function encodeEvent(content: Content, wallTime: number): Uint8Array {
  return encodeMessage((writer) => {
    writer.uint32(field(1, 1)).double(wallTime);
    if ('fileVersion' in content) writer.uint32(field(3, 2)).string(content.fileVersion);
    if ('restartAt' in content) {
      writer.uint32(field(2, 0)).int64(content.restartAt);
      message(writer, 7, (log) => log.uint32(field(1, 0)).int32(1)); // SessionLog.START
    }
    if ('summaries' in content) {
      writer.uint32(field(2, 0)).int64(content.step);
      message(writer, 5, (summary) =>
        content.summaries.forEach(({ tag, write }) =>
          message(summary, 1, (value) => write(value.uint32(field(1, 2)).string(tag))),
        ),
      );
    }
  });
}

/** A scalar. */
export const scalarSummary = (tag: string, value: number): Summary => ({
  tag,
  write: (writer) => writer.uint32(field(2, 5)).float(value),
});

/** An image. @param png the PNG file; height and width are in pixels */
export const imageSummary = (
  tag: string,
  png: Uint8Array,
  { height, width }: { height: number; width: number },
): Summary => ({
  tag,
  write: (writer) =>
    message(writer, 4, (image) => {
      image.uint32(field(1, 0)).int32(height);
      image.uint32(field(2, 0)).int32(width);
      image.uint32(field(3, 0)).int32(3); // RGB
      image.uint32(field(4, 2)).bytes(png);
    }),
});

/** A text. @param text Markdown */
export const textSummary = (tag: string, text: string): Summary => ({
  tag: `${tag}/text_summary`,
  write: (writer) => {
    message(writer, 8, (tensor) => {
      tensor.uint32(field(1, 0)).int32(7); // DT_STRING
      message(tensor, 2, (shape) => message(shape, 2, (dimension) => dimension.uint32(field(1, 0)).int64(1)));
      tensor.uint32(field(8, 2)).bytes(new TextEncoder().encode(text));
    });
    pluginData(writer, 'text', new Uint8Array());
  },
});

/** Lists a run on the HParams page: its hyper-parameters, and the tags of the metrics by which runs are compared. */
export function hyperParameterSummaries(
  values: Readonly<Record<string, boolean | number | string>>,
  metrics: readonly string[],
  startTime: number,
): Summary[] {
  const experiment = pluginMessage(2, (writer) => {
    writer.uint32(field(3, 1)).double(startTime);
    for (const [name, value] of Object.entries(values)) {
      message(writer, 4, (info) =>
        info
          .uint32(field(1, 2))
          .string(name)
          .uint32(field(4, 0))
          .int32(hparamTypes[typeof value as HparamType]),
      );
    }
    for (const tag of metrics)
      message(writer, 5, (info) => message(info, 1, (name) => name.uint32(field(2, 2)).string(tag)));
  });
  const start = pluginMessage(3, (writer) => {
    for (const [name, value] of Object.entries(values)) {
      message(writer, 1, (entry) => {
        entry.uint32(field(1, 2)).string(name);
        message(entry, 2, (fields) => writeValue(fields, value));
      });
    }
    writer.uint32(field(5, 1)).double(startTime);
  });
  return [hparamsSummary('_hparams_/experiment', experiment), hparamsSummary('_hparams_/session_start_info', start)];
}

/** Marks a run of the HParams page as finished. */
export const sessionEndSummary = (endTime: number): Summary =>
  hparamsSummary(
    '_hparams_/session_end_info',
    pluginMessage(4, (writer) => writer.uint32(field(1, 0)).int32(1).uint32(field(2, 1)).double(endTime)),
  ); // STATUS_SUCCESS

type HparamType = 'string' | 'boolean' | 'number';
const hparamTypes: Readonly<Record<HparamType, number>> = { string: 1, boolean: 2, number: 3 };

/** Writes the fields of a google.protobuf.Value. */
function writeValue(writer: Writer, value: boolean | number | string): void {
  if (typeof value === 'number') writer.uint32(field(2, 1)).double(value);
  else if (typeof value === 'string') writer.uint32(field(3, 2)).string(value);
  else writer.uint32(field(4, 0)).bool(value);
}

const hparamsSummary = (tag: string, content: Uint8Array): Summary => ({
  tag,
  write: (writer) => pluginData(writer, 'hparams', content),
});

const pluginMessage = (id: number, write: Fields): Uint8Array => encodeMessage((writer) => message(writer, id, write));

function pluginData(writer: Writer, plugin: string, content: Uint8Array): void {
  message(writer, 9, (metadata) =>
    message(metadata, 1, (data) => {
      data.uint32(field(1, 2)).string(plugin);
      data.uint32(field(2, 2)).bytes(content);
    }),
  );
}
