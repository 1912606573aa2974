/** Data sets made by chance and encoded here, byte by byte, in any of the three encodings: nothing of src/dicom decides what they look like. */
import fc from 'fast-check';
import { VR_TRAITS, type Vr } from '../../src/dicom/vr.ts';
import type { Encoding } from '../../src/dicom/data-set.ts';

export interface MadeElement {
  readonly tag: number;
  readonly vr: Vr;
  /** In little endian order. */
  readonly value: Buffer;
  readonly items?: readonly (readonly MadeElement[])[];
  /** Of the sequence and its items. */
  readonly undefinedLength: boolean;
}

/** Tags whose VR the dictionary knows for sure, so that Implicit VR says the same; ascending. */
const KNOWN: readonly (readonly [number, Vr])[] = [
  [0x00080008, 'CS'],
  [0x00080060, 'CS'],
  [0x00081030, 'LO'],
  [0x00700022, 'FL'],
  [0x00100010, 'PN'],
  [0x00104000, 'LT'],
  [0x00181151, 'IS'],
  [0x00189073, 'FD'],
  [0x0020000d, 'UI'],
  [0x00200032, 'DS'],
  [0x00209157, 'UL'],
  [0x00280010, 'US'],
  [0x00280009, 'AT'],
  [0x00420011, 'OB'],
  [0x00660016, 'OF'],
  [0x00280011, 'US'],
];
const SEQUENCES = [0x00081140, 0x00082112, 0x00400275, 0x0040a730, 0x00540016, 0x52009230];

const leaf: fc.Arbitrary<MadeElement> = fc
  .tuple(fc.constantFrom(...KNOWN), fc.uint8Array({ maxLength: 24 }))
  .map(([[tag, vr], bytes]) => {
    const unit = Math.max(2, VR_TRAITS[vr].wordBytes);
    return {
      tag,
      vr,
      value: Buffer.from(bytes.subarray(0, bytes.length - (bytes.length % unit))),
      undefinedLength: false,
    };
  });

export const madeDataSet: fc.Arbitrary<readonly MadeElement[]> = fc.letrec<{
  set: readonly MadeElement[];
  element: MadeElement;
}>((tie) => ({
  set: fc
    .array(tie('element'), { maxLength: 6, depthIdentifier: 'set' })
    .map((elements) =>
      [...new Map(elements.map((element) => [element.tag, element])).values()].sort((a, b) => a.tag - b.tag),
    ),
  element: fc.oneof(
    { maxDepth: 4, depthIdentifier: 'set', withCrossShrink: true },
    leaf,
    fc
      .tuple(fc.constantFrom(...SEQUENCES), fc.array(tie('set'), { maxLength: 3 }), fc.boolean())
      .map(([tag, items, undefinedLength]) => ({
        tag,
        vr: 'SQ' as const,
        value: Buffer.alloc(0),
        items,
        undefinedLength,
      })),
  ),
})).set;

export function encode(elements: readonly MadeElement[], encoding: Encoding): Buffer {
  return Buffer.concat(elements.map((element) => encodeElement(element, encoding)));
}

function encodeElement({ tag, vr, value, items, undefinedLength }: MadeElement, encoding: Encoding): Buffer {
  const content =
    items === undefined
      ? encoding === 'explicit-be'
        ? swapped(value, VR_TRAITS[vr].wordBytes)
        : value
      : Buffer.concat([
          ...items.flatMap((item) => {
            const bytes = encode(item, encoding);
            return undefinedLength
              ? [delimiter(0xe000, 0xffffffff, encoding), bytes, delimiter(0xe00d, 0, encoding)]
              : [delimiter(0xe000, bytes.length, encoding), bytes];
          }),
          ...(undefinedLength ? [delimiter(0xe0dd, 0, encoding)] : []),
        ]);
  return Buffer.concat([header(tag, vr, undefinedLength ? 0xffffffff : content.length, encoding), content]);
}

export function header(tag: number, vr: string, lengthBytes: number, encoding: Encoding): Buffer {
  const big = encoding === 'explicit-be';
  const bytes = Buffer.alloc(12);
  const word = (value: number, at: number): unknown =>
    big ? bytes.writeUInt16BE(value, at) : bytes.writeUInt16LE(value, at);
  const long = (value: number, at: number): unknown =>
    big ? bytes.writeUInt32BE(value, at) : bytes.writeUInt32LE(value, at);
  word(tag >>> 16, 0);
  word(tag & 0xffff, 2);
  if (encoding === 'implicit-le') {
    long(lengthBytes, 4);
    return bytes.subarray(0, 8);
  }
  bytes.write(vr, 4, 'latin1');
  if (!(vr in VR_TRAITS) || VR_TRAITS[vr as Vr].longForm) {
    long(lengthBytes, 8);
    return bytes;
  }
  word(lengthBytes, 6);
  return bytes.subarray(0, 8);
}

export function delimiter(element: number, lengthBytes: number, encoding: Encoding): Buffer {
  const bytes = Buffer.alloc(8);
  if (encoding === 'explicit-be') {
    bytes.writeUInt16BE(0xfffe, 0);
    bytes.writeUInt16BE(element, 2);
    bytes.writeUInt32BE(lengthBytes, 4);
  } else {
    bytes.writeUInt16LE(0xfffe, 0);
    bytes.writeUInt16LE(element, 2);
    bytes.writeUInt32LE(lengthBytes, 4);
  }
  return bytes;
}

function swapped(value: Buffer, wordBytes: number): Buffer {
  const bytes = Buffer.alloc(value.length);
  for (let at = 0; at < value.length; at++)
    bytes[at] = value[at - (at % wordBytes) + (wordBytes - 1 - (at % wordBytes))] ?? 0;
  return bytes;
}

/** An element of Explicit VR LE. */
export function explicit(tag: number, vr: string, value: Buffer | string, lengthBytes?: number): Buffer {
  const bytes = Buffer.isBuffer(value) ? value : Buffer.from(value, 'latin1');
  return Buffer.concat([header(tag, vr, lengthBytes ?? bytes.length, 'explicit-le'), bytes]);
}

/** Preamble, prefix and file meta information of this transfer syntax. */
export function fileMeta(transferSyntaxUID: string): Buffer {
  const uid = transferSyntaxUID.length % 2 === 0 ? transferSyntaxUID : `${transferSyntaxUID}\0`;
  const elements = Buffer.concat([explicit(0x00020001, 'OB', Buffer.from([0, 1])), explicit(0x00020010, 'UI', uid)]);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(elements.length);
  return Buffer.concat([Buffer.alloc(128), Buffer.from('DICM'), explicit(0x00020000, 'UL', length), elements]);
}

/** The bytes in pieces of these sizes, again and again. */
export async function* inPieces(bytes: Buffer, sizes: readonly number[]): AsyncGenerator<Buffer> {
  for (let at = 0, index = 0; at < bytes.length; index++) {
    const size = Math.max(1, sizes[index % sizes.length] ?? 1);
    yield bytes.subarray(at, at + size);
    at += size;
  }
}
