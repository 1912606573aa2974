/** Items as encapsulated pixel data holds them (PS3.5 A.4): a tag, a length of 32 bits, an even number of bytes. */

export function itemHeader(lengthBytes: number): Buffer {
  const header = Buffer.from([0xfe, 0xff, 0x00, 0xe0, 0, 0, 0, 0]);
  header.writeUInt32LE(lengthBytes, 4);
  return header;
}

/** The value as an item of its own, in pieces; padded where it is odd. */
export function evenItem(value: Buffer): Buffer[] {
  if (value.length % 2 === 0) return [itemHeader(value.length), value];
  return [itemHeader(value.length + 1), value, Buffer.alloc(1)];
}

/** The Sequence Delimitation Item. */
export const END_OF_ITEMS: Buffer = Buffer.from([0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0]);
