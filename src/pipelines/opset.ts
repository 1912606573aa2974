/** Which operators an ONNX file is written in, read from its bytes (onnx.proto: ModelProto.opset_import is field 8). */

/** Version of the standard operators; undefined where the file says none, or is no ONNX. */
export function opsetOf(file: Buffer): number | undefined {
  for (const field of fieldsOf(file)) {
    if (field.number !== OPSET_IMPORT || field.bytes === undefined) continue;
    let [domain, version] = ['', undefined as number | undefined];
    for (const { number, bytes, value } of fieldsOf(field.bytes)) {
      if (number === DOMAIN && bytes !== undefined) domain = bytes.toString('latin1');
      if (number === VERSION) version = value;
    }
    if (domain === '' || domain === 'ai.onnx') return version;
  }
  return undefined;
}

const OPSET_IMPORT = 8;
/** Of OperatorSetIdProto. */
const [DOMAIN, VERSION] = [1, 2];

interface Field {
  readonly number: number;
  /** Of a length-delimited field. */
  readonly bytes: Buffer | undefined;
  /** Of a varint. */
  readonly value: number | undefined;
}

/** The fields of one message; ends where the bytes are no protobuf. */
function* fieldsOf(bytes: Buffer): Generator<Field> {
  let at = 0;
  const varint = (): number | undefined => {
    let [value, factor] = [0, 1];
    for (let count = 0; count < 10 && at < bytes.length; count++, factor *= 128) {
      const byte = bytes[at++] ?? 0;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
    return undefined;
  };
  while (at < bytes.length) {
    const key = varint();
    if (key === undefined) return;
    const [number, wire] = [Math.floor(key / 8), key % 8];
    if (wire === 0) {
      const value = varint();
      if (value === undefined) return;
      yield { number, bytes: undefined, value };
    } else if (wire === 2) {
      const length = varint();
      if (length === undefined || at + length > bytes.length) return;
      yield { number, bytes: bytes.subarray(at, at + length), value: undefined };
      at += length;
    } else if (wire === 5) at += 4;
    else if (wire === 1) at += 8;
    else return;
  }
}
