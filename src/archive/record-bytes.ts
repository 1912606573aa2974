/** The bytes of one record of a pack, read and compared with what the index says of them. */
import { open, type FileHandle } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { BLOCK_BYTES, parseHeader } from './tar.ts';

export const CHUNK_BYTES = 2 ** 20;

/** Fewer bytes where the file ends early. */
export async function readAt(handle: FileHandle, position: number, lengthBytes: number): Promise<Buffer> {
  const bytes = Buffer.alloc(lengthBytes);
  const { bytesRead } = await handle.read(bytes, 0, lengthBytes, position);
  return bytes.subarray(0, bytesRead);
}

/** What is wrong with a record, or undefined. `at`: where its header begins. */
export async function faultOf(file: string, at: number, lengthBytes: number, crc: number): Promise<string | undefined> {
  const handle = await open(file, 'r').catch(() => undefined);
  if (handle === undefined) return 'the pack cannot be opened';
  try {
    const entry = parseHeader(await readAt(handle, at, BLOCK_BYTES));
    if (entry?.kind !== 'record') return 'no record begins where the index says';
    if (entry.record.lengthBytes !== lengthBytes) return 'the record is not as long as the index says';
    let found = 0;
    for (let done = 0; done < lengthBytes; done += CHUNK_BYTES) {
      const wanted = Math.min(CHUNK_BYTES, lengthBytes - done);
      const chunk = await readAt(handle, at + BLOCK_BYTES + done, wanted);
      if (chunk.length < wanted) return 'the pack ends inside the record';
      found = crc32(chunk, found);
    }
    return found === crc ? undefined : 'the bytes do not have the CRC-32 that they were stored with';
  } finally {
    await handle.close();
  }
}
