/** Pixel data that waits in a spool, on its way out: read once, and with the items around it where its frames are encapsulated (PS3.5 A.4). */
import { END_OF_ITEMS, itemHeader } from '../../dicom/items.ts';
import type { Spool } from '../../spool.ts';

/** What has been read once is given back. */
export async function* drained(spool: Spool): AsyncGenerator<Buffer> {
  try {
    yield* spool.read();
  } finally {
    spool.discard();
  }
}

/** Native samples of even length (PS3.5 8.1.1). */
export async function* evenly(spool: Spool): AsyncGenerator<Buffer> {
  const odd = spool.lengthBytes % 2 === 1;
  yield* drained(spool);
  if (odd) yield Buffer.alloc(1);
}

/** An offset of more than 32 bits has no place in it: then it is empty, which is always allowed. */
export function offsetTableOf(starts: readonly number[]): Buffer {
  if ((starts.at(-1) ?? 0) > 0xffffffff) return Buffer.alloc(0);
  const table = Buffer.alloc(4 * starts.length);
  for (const [index, start] of starts.entries()) table.writeUInt32LE(start, 4 * index);
  return table;
}

/** A spool of items, between its offset table and the delimitation. */
export async function* encapsulated(table: Buffer, spool: Spool): AsyncGenerator<Buffer> {
  yield itemHeader(table.length);
  if (table.length > 0) yield table;
  yield* drained(spool);
  yield END_OF_ITEMS;
}
