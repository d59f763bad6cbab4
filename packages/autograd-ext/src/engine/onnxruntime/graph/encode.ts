import protobuf from 'protobufjs/minimal.js';
import { toFloat16 } from '../../../weights/dtypes/float16.js';
import {
  bodyOf,
  elementTypes,
  nodesOf,
  type Attribute,
  type Dtype,
  type Graph,
  type GraphNode,
  type Value,
} from './graph.js';
import { elementCount } from '../../../params.js';

type Writer = ReturnType<typeof protobuf.Writer.create>;

/** The location of a weight's values, in bytes. `file` is relative to the session's folder of external data. */
export interface WeightLocation {
  readonly file: string;
  readonly offset: number;
  readonly length: number;
}

/** The name of output `index` of a graph. */
export const outputName = (index: number): string => `output.${index}`;

// Field numbers and type codes below are those of onnx.proto3 of ONNX 1.16.
const irVersion = 10;
const opset = 18;
const attributeTypes = { float: 1, int: 2, string: 3, graph: 5, ints: 7 };
const external = 1;
/** Elements of a uniform constant; larger ones are expanded when the session starts instead of being written out. */
const longestUniform = 1024;

/**
 * Encodes a graph as an ONNX model that refers to the weights in their files.
 * @param locate returns the location of a weight in a number format
 */
export function encodeModel(
  graph: Graph,
  locate: (leaf: object, dtype: Dtype) => WeightLocation,
  name = 'alignprop',
): Uint8Array {
  const writer = protobuf.Writer.create();
  writer.uint32(field(1, 0)).int64(irVersion);
  writer.uint32(field(2, 2)).string('alignprop');
  message(writer, 7, (w) => new GraphEncoder(w, locate).encode(graph, name));
  for (const [domain, version] of [
    ['', opset],
    ['com.microsoft', 1],
  ] as const) {
    message(writer, 8, (w) => {
      w.uint32(field(1, 2)).string(domain);
      w.uint32(field(2, 0)).int64(version);
    });
  }
  return writer.finish();
}

/** Writes one graph; subgraphs get an encoder of their own, with a prefix for names. */
class GraphEncoder {
  readonly #names: Map<Value, string>;
  readonly #outputs = new Map<Value, string>();

  constructor(
    readonly writer: Writer,
    readonly locate: (leaf: object, dtype: Dtype) => WeightLocation,
    names: ReadonlyMap<Value, string> = new Map(),
    readonly prefix = '',
  ) {
    this.#names = new Map(names);
  }

  encode(graph: Graph, name: string, nodes: readonly GraphNode[] = nodesOf(graph.outputs)): void {
    for (const input of graph.inputs)
      this.#names.set(input, input.source.kind === 'input' ? this.prefix + input.source.name : '');
    graph.outputs.forEach((output, i) =>
      this.#outputs.set(output, this.#outputs.get(output) ?? this.prefix + outputName(i)),
    );
    nodes.forEach((node, i) => this.#node(node, `${this.prefix}${node.op}_${i}`));
    graph.outputs.forEach((output, i) => this.#copyOutput(this.#name(output), this.prefix + outputName(i)));
    this.writer.uint32(field(2, 2)).string(name);
    for (const input of graph.inputs) this.#valueInfo(11, this.#name(input), input);
    graph.outputs.forEach((output, i) => this.#valueInfo(12, this.prefix + outputName(i), output));
  }

  /** An output must come from a node of that name; inputs, constants and duplicates go through Identity. */
  #copyOutput(name: string, output: string): void {
    if (name !== output) this.#write('Identity', '', [name], [output], `Copy of ${name} as ${output}`);
  }

  #node({ op, domain, inputs, outputs, attributes }: GraphNode, name: string): void {
    const inputNames = inputs.map((input) => (input ? this.#name(input) : ''));
    for (const attribute of Object.values(attributes))
      if ('graph' in attribute) bodyOf(attribute.graph).captured.forEach((value) => this.#name(value));
    outputs.forEach((output, i) =>
      this.#names.set(output, this.#outputs.get(output) ?? (i === 0 ? name : `${name}.${i}`)),
    );
    this.#write(
      op,
      domain,
      inputNames,
      outputs.map((output) => this.#names.get(output)!),
      name,
      attributes,
    );
  }

  #write(
    op: string,
    domain: string,
    inputs: readonly string[],
    outputs: readonly string[],
    name: string,
    attributes: Readonly<Record<string, Attribute>> = {},
  ): void {
    message(this.writer, 1, (w) => {
      for (const input of inputs) w.uint32(field(1, 2)).string(input);
      for (const output of outputs) w.uint32(field(2, 2)).string(output);
      w.uint32(field(3, 2)).string(name);
      w.uint32(field(4, 2)).string(op);
      for (const [key, attribute] of Object.entries(attributes))
        message(w, 5, (inner) => this.#attribute(inner, key, attribute, name));
      if (domain) w.uint32(field(7, 2)).string(domain);
    });
  }

  #attribute(w: Writer, key: string, attribute: Attribute, owner: string): void {
    w.uint32(field(1, 2)).string(key);
    if ('float' in attribute) w.uint32(field(2, 5)).float(attribute.float);
    if ('int' in attribute) w.uint32(field(3, 0)).int64(attribute.int);
    if ('string' in attribute) w.uint32(field(4, 2)).string(attribute.string);
    if ('graph' in attribute)
      message(w, 6, (inner) =>
        new GraphEncoder(inner, this.locate, this.#names, `${owner}/`).encode(
          attribute.graph,
          owner,
          bodyOf(attribute.graph).nodes,
        ),
      );
    if ('ints' in attribute) for (const int of attribute.ints) w.uint32(field(8, 0)).int64(int);
    w.uint32(field(20, 0)).int32(attributeTypes[Object.keys(attribute)[0] as keyof typeof attributeTypes]);
  }

  /** The name of a value. Writes weights and constants to the model when they are first used. */
  #name(value: Value): string {
    const existing = this.#names.get(value);
    if (existing !== undefined) return existing;
    const name = `${this.prefix}${value.source.kind}_${this.#names.size}`;
    this.#names.set(value, name);
    if (value.source.kind === 'weight') this.#weight(name, value, this.locate(value.source.leaf, value.dtype));
    else if (value.source.kind === 'constant') this.#constant(name, value);
    else
      throw new Error(
        `encodeModel: a value of kind '${value.source.kind}' and shape [${value.shape}] is used before it is made.`,
      );
    return name;
  }

  #weight(name: string, value: Value, { file, offset, length }: WeightLocation): void {
    message(this.writer, 5, (w) => {
      tensorHead(w, name, value);
      for (const [key, text] of [
        ['location', file],
        ['offset', `${offset}`],
        ['length', `${length}`],
      ] as const) {
        message(w, 13, (entry) => {
          entry.uint32(field(1, 2)).string(key);
          entry.uint32(field(2, 2)).string(text);
        });
      }
      w.uint32(field(14, 0)).int32(external);
    });
  }

  #constant(name: string, value: Value): void {
    const { source, shape } = value;
    const data = (source as Extract<Value['source'], { kind: 'constant' }>).data;
    const size = elementCount(shape);
    if (typeof data !== 'number') return this.#dense(name, value, data);
    if (size <= longestUniform)
      return this.#dense(
        name,
        value,
        Float32Array.from({ length: size }, () => data),
      );
    const [one, dims] = [`${name}.value`, `${name}.shape`];
    this.#dense(one, { ...value, shape: [] }, Float32Array.of(data));
    this.#dense(dims, { ...value, shape: [shape.length], dtype: 'int64' }, Int32Array.from(shape));
    this.#write('Expand', '', [one, dims], [name], name);
  }

  #dense(name: string, value: Value, data: ArrayLike<number>): void {
    message(this.writer, 5, (w) => {
      tensorHead(w, name, value);
      w.uint32(field(9, 2)).bytes(rawBytes(data, value.dtype));
    });
  }

  #valueInfo(number: number, name: string, { shape, dtype }: Value): void {
    message(this.writer, number, (w) => {
      w.uint32(field(1, 2)).string(name);
      message(w, 2, (type) =>
        message(type, 1, (tensor) => {
          tensor.uint32(field(1, 0)).int32(elementTypes[dtype]);
          message(tensor, 2, (dims) =>
            shape.forEach((size) => message(dims, 1, (dim) => dim.uint32(field(1, 0)).int64(size))),
          );
        }),
      );
    });
  }
}

function tensorHead(w: Writer, name: string, { shape, dtype }: Value): void {
  for (const size of shape) w.uint32(field(1, 0)).int64(size);
  w.uint32(field(2, 0)).int32(elementTypes[dtype]);
  w.uint32(field(8, 2)).string(name);
}

/** The content of a constant, which is never in bfloat16. */
function rawBytes(data: ArrayLike<number>, dtype: Dtype): Uint8Array {
  const values = {
    float32: () => Float32Array.from(data),
    float16: () => toFloat16(Float32Array.from(data)),
    int32: () => Int32Array.from(data),
    int64: () => BigInt64Array.from(Array.from(data, BigInt)),
    bool: () => Uint8Array.from(data),
  }[dtype as Exclude<Dtype, 'bfloat16'>]();
  return new Uint8Array(values.buffer);
}

const field = (number: number, wireType: number): number => ((number << 3) | wireType) >>> 0;

function message(writer: Writer, number: number, write: (w: Writer) => void): void {
  writer.uint32(field(number, 2)).fork();
  write(writer);
  writer.ldelim();
}
