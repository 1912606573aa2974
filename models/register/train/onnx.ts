/**
 * Writes the few messages of the ONNX format that a graph needs, as plain protocol-buffer bytes.
 * Field numbers from onnx.proto, ONNX IR version 9. The same calls always give the same bytes.
 */

/** One encoded message. */
export type Message = Uint8Array;

export type Attribute = number | string | readonly number[] | { readonly graph: Message };

export interface GraphParts {
  readonly name: string;
  readonly nodes: readonly Message[];
  readonly constants: readonly Message[];
  readonly inputs: readonly Message[];
  readonly outputs: readonly Message[];
}

export const FLOAT = 1;
export const INT64 = 7;
export const BOOL = 9;

const ATTRIBUTE_INT = 2;
const ATTRIBUTE_STRING = 3;
const ATTRIBUTE_GRAPH = 5;
const ATTRIBUTE_INTS = 7;

/** ModelProto around one graph. */
export function encodeModel(graph: Message, opset: number, producer: string): Message {
  return join([number(1, 9), text(2, producer), field(7, graph), field(8, join([text(1, ''), number(2, opset)]))]);
}

/** GraphProto. */
export function encodeGraph(parts: GraphParts): Message {
  return join([
    ...parts.nodes.map((node) => field(1, node)),
    text(2, parts.name),
    ...parts.constants.map((tensor) => field(5, tensor)),
    ...parts.inputs.map((value) => field(11, value)),
    ...parts.outputs.map((value) => field(12, value)),
  ]);
}

/** NodeProto. An empty input name stands for an optional input left out. */
export function encodeNode(
  operator: string,
  inputs: readonly string[],
  outputs: readonly string[],
  attributes: Readonly<Record<string, Attribute>>,
): Message {
  return join([
    ...inputs.map((name) => text(1, name)),
    ...outputs.map((name) => text(2, name)),
    text(4, operator),
    ...Object.entries(attributes).map(([name, value]) => field(5, encodeAttribute(name, value))),
  ]);
}

/** TensorProto with its values as raw little-endian bytes. */
export function encodeTensor(name: string, type: number, dims: readonly number[], bytes: Uint8Array): Message {
  return join([...dims.map((length) => number(1, length)), number(2, type), text(8, name), field(9, bytes)]);
}

/** ValueInfoProto of a tensor; a string stands for a dimension that is free, undefined for one that has no name either. */
export function encodeValue(name: string, type: number, dims: readonly (number | string | undefined)[]): Message {
  const shape = join(
    dims.map((length) =>
      field(1, length === undefined ? join([]) : typeof length === 'number' ? number(1, length) : text(2, length)),
    ),
  );
  const tensorType = join([number(1, type), field(2, shape)]);
  return join([text(1, name), field(2, field(1, tensorType))]);
}

/** Integral attributes only: no operator used here takes a float attribute. */
function encodeAttribute(name: string, value: Attribute): Message {
  if (typeof value === 'number') return join([text(1, name), number(3, value), number(20, ATTRIBUTE_INT)]);
  if (typeof value === 'string') return join([text(1, name), text(4, value), number(20, ATTRIBUTE_STRING)]);
  if ('graph' in value) return join([text(1, name), field(6, value.graph), number(20, ATTRIBUTE_GRAPH)]);
  return join([text(1, name), ...value.map((one) => number(8, one)), number(20, ATTRIBUTE_INTS)]);
}

function field(tag: number, bytes: Uint8Array): Message {
  return join([varint(BigInt(tag * 8 + 2)), varint(BigInt(bytes.length)), bytes]);
}

function text(tag: number, value: string): Message {
  return field(tag, new TextEncoder().encode(value));
}

function number(tag: number, value: number): Message {
  return join([varint(BigInt(tag * 8)), varint(BigInt.asUintN(64, BigInt(value)))]);
}

function varint(value: bigint): Message {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 127n) {
    bytes.push(Number(rest & 127n) + 128);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}

function join(parts: readonly Uint8Array[]): Message {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
